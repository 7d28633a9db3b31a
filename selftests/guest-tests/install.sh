#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# install.sh: what `sudo make install` does, for real, in the guest: DKMS builds the module for the
# running kernel, modprobe finds it, udev names the nodes, systemd runs vtpmd and the fork server by their
# units, a client works through restarts of both, the host key moves to a credential and to a TPM, and uninstall
# leaves nothing but the state. Prints TAP.
#   selftests/guest/run --kernel 6.12 --timeout 900 selftests/guest-tests/install.sh
# VTPM_BUILD: the folder with vtpmd, vtpm-engine and vtpmctl (default build/release).
#
# PID 1 of the guest is no systemd, so the test boots the one of this machine as PID 1 of its own
# PID, mount and cgroup namespaces, and runs in these. Kernel, /dev and uevents are the guest's.
# shellcheck disable=SC2317 # functions are called by is() and eventually()
set -uo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${VTPM_BUILD:-$repository/build/release}
version=$(sed -n 's/^project(vtpm VERSION \([0-9.]*\).*/\1/p' "$repository/daemon/CMakeLists.txt")
release=$(uname -r)
work=/run/install-test
dropin=/etc/systemd/system/vtpmd.service.d
cd "$repository" || exit 1
if [ "${VTPM_GUEST:-}" != 1 ]; then
	echo "install.sh: it installs into / and starts services: run it in the guest" >&2
	exit 2
fi

# ---------------------------------------------------------------- outside: boot systemd
# depmod of all of Debian's modules takes minutes here. What DKMS needs is the link to the headers.
small_module_tree() {
	local all=/lib/modules/$release headers=/usr/src/linux-headers-$release
	[ -d "$headers" ] || { echo "Bail out! no $headers: make deps"; exit 1; }
	mkdir -p $work/keep
	cp "$all"/modules.{order,builtin,builtin.modinfo} $work/keep/
	mount -t tmpfs tmpfs "$all"
	cp $work/keep/* "$all/"
	ln -s "$headers" "$all/build"
	depmod "$release"
}

boot_systemd() {
	# The one of `run --udev`: systemd starts its own.
	if [ -S /run/udev/control ]; then
		udevadm control --exit
		rm -f /run/udev/control
	fi
	mkdir -p /sys/fs/cgroup/install-test
	# shellcheck disable=SC2016 # PATH is the inner shell's
	unshare --pid --mount --fork --kill-child --mount-proc bash -c '
		echo 0 >/sys/fs/cgroup/install-test/cgroup.procs
		exec unshare --cgroup bash -c "
			mount -t cgroup2 cgroup2 /sys/fs/cgroup
			mount --make-rshared / # as on a host: credentials of a service are mounted outside of it
			exec env -i PATH=$PATH container=install-test /lib/systemd/systemd --unit=basic.target --show-status=no"
	' </dev/null >$work/systemd.log 2>&1 &
	local i
	for ((i = 0; i < 600; i++)); do
		init=$(pgrep -P $! | head -n 1)
		if [ -n "$init" ] && nsenter -t "$init" -a systemctl -q is-active basic.target 2>/dev/null; then
			return 0
		fi
		sleep 0.5
	done
	[ -z "$init" ] || nsenter -t "$init" -a systemctl list-jobs | sed 's/^/# /'
	sed 's/^/# /' $work/systemd.log
	return 1
}

if [ "${1:-}" != --inside ]; then
	mkdir -p $work
	small_module_tree
	boot_systemd || { echo "Bail out! systemd did not start"; exit 1; }
	exec nsenter -t "$init" -a --wd="$repository" bash "$0" --inside
fi

# ---------------------------------------------------------------- inside: the test
count=0 failed=0
# is MEANING COMMAND...: one test point; the output is shown if it fails.
is() {
	local meaning=$1 begun=$SECONDS
	shift
	count=$((count + 1))
	if "$@" >$work/output 2>&1 </dev/null; then
		echo "ok $count - $meaning # time $((SECONDS - begun)) s"
		return 0
	fi
	failed=$((failed + 1))
	echo "not ok $count - $meaning"
	tail -n 60 $work/output | sed 's/^/# /'
	return 1
}

finish() {
	if [ $failed != 0 ]; then
		journalctl -q --no-pager -o cat -u 'vtpm*' -u 'run-vtpm*' -u 'modprobe@vtpm' | tail -n 60 | sed 's/^/# /'
	fi
	echo "1..$count"
	[ $failed = 0 ]
	exit
}

fails() { ! "$@"; }
eventually() {
	local i
	for ((i = 0; i < 300; i++)); do
		! "$@" || return 0
		sleep 0.2
	done
	return 1
}
main_pid() { systemctl show -P MainPID "$1"; }
answers() { vtpmctl -q list; }
pcr() { tpm2_pcrread -T "device:/dev/vtpm-by/name/$1-rm" sha256:16 | tail -n 1; }
same_pcr() { [ -n "$before" ] && [ "$(pcr web)" = "$before" ]; }
extended() { [[ $before =~ 0x[0-9A-F]{64}$ && ! $before =~ 0x0{64}$ ]]; }
other_main_pid() { [ "$(main_pid vtpmd)" != "$old" ] && [ "$(main_pid vtpmd)" -gt 0 ]; }
worker() { vtpmctl show web | sed -n 's/^ *worker  *pid //p'; }
same_worker() { [ -n "$served_by" ] && [ "$(worker)" = "$served_by" ]; }
other_worker() { [ -n "$(worker)" ] && [ "$(worker)" != "$served_by" ]; }
no_worker() { ! pgrep -x vtpm-worker; }
belong_to_vtpm() { [ "$(stat -c %U "$@" | sort -u)" = vtpm ]; }
# has_no_rights PID: another user than root, who can never become more.
has_no_rights() {
	cat "/proc/$1/status"
	[ "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$1/status")" = "$(id -u vtpm) $(id -u vtpm) $(id -u vtpm) $(id -u vtpm)" ] &&
		[ "$(grep -cE '^Cap(Inh|Prm|Eff|Bnd|Amb):[[:space:]]0{16}$' "/proc/$1/status")" = 5 ] &&
		grep -qE '^NoNewPrivs:[[:space:]]1$' "/proc/$1/status" && grep -qE '^Seccomp:[[:space:]]2$' "/proc/$1/status"
}
# The client that works through all that follows.
begin_work() {
	selftests/guest-tests/steady-client /dev/vtpm-by/name/web-rm >"$work/client" 2>&1 &
	client=$!
	eventually test -s "$work/client"
}
work_done() { tail -n 1 "$work/client" | cut -d' ' -f1; }
# Twice: the command that was on its way has been answered too.
goes_on() {
	local so_far i
	so_far=$(work_done)
	for ((i = 0; i < 300; i++)); do
		[ "$(work_done)" -le $((so_far + 2)) ] || return 0
		kill -0 "$client" || break
		sleep 0.2
	done
	cat "$work/client"
	return 1
}
end_work() {
	kill -TERM "$client"
	tail -n 3 "$work/client"
	wait "$client"
}
# as GROUP COMMAND...
as() { setpriv --reuid=nobody --regid="$1" --clear-groups "${@:2}"; }
# with LINE...: a drop-in of vtpmd's unit, and vtpmd runs with it
with() {
	mkdir -p "$dropin"
	printf '%s\n' '[Service]' "$@" >"$dropin/test.conf"
	systemctl daemon-reload
	systemctl restart vtpmd
}
keeper() { vtpmctl --socket "$work/host/admin.sock" "$@"; }
leftovers() {
	find /usr/bin /usr/sbin /usr/libexec /usr/include/vtpm /usr/share/{man,vtpm,bash-completion,zsh} /etc/systemd \
		/usr/lib/{systemd,udev,sysusers.d} /usr/src /var/lib/dkms "/lib/modules/$release" /run/vtpm /run/vtpm-engine \
		/dev/vtpm-by \
		-name '*vtpm*' -not -name 'tpm_vtpm*' -not -path '*/linux-headers-*' 2>/dev/null
}
nothing_left() {
	leftovers
	[ -z "$(leftovers)" ]
}

echo "TAP version 13"
echo "# kernel $release, $(systemctl --version | head -n 1)"

is "DKMS builds and installs the module for the running kernel" \
	selftests/install --module --version "$version" || finish
is "depmod knows it: modprobe vtpm" modprobe vtpm || finish
is "it is the one that DKMS built" grep -q "/updates/dkms/" <(modinfo -F filename vtpm)
is "DKMS counts it as installed" grep -q installed <(dkms status -m vtpm -v "$version" -k "$release" 2>/dev/null)
is "unloading works" modprobe -r vtpm

is "install" selftests/install --build "$build" || finish
is "the units are well-formed" systemd-analyze verify --man=no vtpmd.service vtpm-engine.service

is "the unit of the fork server starts" systemctl start vtpm-engine || finish
is "it has loaded the module" test -c /dev/vtpm

# As an earlier version left it: root's, with a device that is on.
/usr/sbin/vtpmd --observe-group vtpm 2>$work/early.log &
early=$!
is "vtpmd runs without systemd, as root" eventually answers || finish
is "create a read-write device" vtpmctl create web --start || finish
is "udev names its node" eventually test -c /dev/vtpm-by/name/web
is "tpm2-tools work through the name" \
	tpm2_pcrextend -T device:/dev/vtpm-by/name/web "16:sha256=$(printf x | sha256sum | cut -d' ' -f1)"
before=$(pcr web)
is "its PCR is extended" extended
echo secret >$work/bystander
ln -s $work/bystander /var/lib/vtpm/link
kill $early
is "it ends" wait $early

is "vtpmd starts by its unit" systemctl start vtpmd || finish
is "vtpmd is no root, and has no capability" has_no_rights "$(main_pid vtpmd)"
is "what was root's is its own now" belong_to_vtpm /var/lib/vtpm /var/lib/vtpm/{store.db,host.key} /run/vtpm /run/vtpm/journal
is "but not what a link led to" test "$(stat -c %U $work/bystander)" = root
is "the device has its PCR" same_pcr
is "the journal is a ramfs of the host's mount namespace" findmnt -t ramfs /run/vtpm/journal
is "vtpmctl doctor finds nothing that fails" vtpmctl doctor
is "man pages are there" gzip -t /usr/share/man/man{1/vtpmctl.1,4/vtpm.4,8/vtpmd.8,8/vtpm-engine.8}.gz

is "create a read-only device" vtpmctl create golden --mode read-only --start
is "udev names the nodes of the resource manager, too" eventually test -c /dev/vtpm-by/name/web-rm
is "and those of the other device" eventually test -c /dev/vtpm-by/name/golden-rm
is "keys can be made" tpm2_createprimary -Q -T device:/dev/vtpm-by/name/web-rm -G ecc -c $work/primary.ctx
is "but not in the read-only device" fails \
	tpm2_createprimary -Q -T device:/dev/vtpm-by/name/golden-rm -G ecc -c $work/no.ctx
node=$(readlink -f /dev/vtpm-by/name/web)

is "group vtpm may observe" as vtpm vtpmctl list
is "and nothing else" fails as vtpm vtpmctl stop web
is "an attacker in the service could do little (systemd-analyze security)" \
	systemd-analyze security --no-pager --threshold=6 vtpmd.service
is "and one in the fork server not much" systemd-analyze security --no-pager --threshold=25 vtpm-engine.service

old=$(main_pid vtpmd)
served_by=$(worker)
is "a client begins to work" begin_work
exec 7<>"$node"
is "restart vtpmd" systemctl restart vtpmd
is "vtpmd is another process" other_main_pid
is "its worker is not" eventually same_worker
is "the client goes on" goes_on
is "the device has its PCR" same_pcr
is "and its node" test "$(readlink -f /dev/vtpm-by/name/web)" = "$node"
is "a file that was open is still served" \
	bash -c 'printf "\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x08" >&7 && head -c 20 <&7 | xxd -p | grep -q ^8001000000140000000000'
exec 7>&-

old=$(main_pid vtpmd)
is "kill vtpmd" kill -KILL "$old"
is "systemd starts it again" eventually other_main_pid
is "it answers" eventually answers
is "the worker is the same" eventually same_worker
is "the client goes on" goes_on

served_by=$(worker)
old=$(main_pid vtpm-engine)
is "a worker crashes" kill -SEGV "$served_by"
is "the device has another worker" eventually other_worker
is "the fork server has executed itself anew" test "$(main_pid vtpm-engine)" = "$old"
is "the client goes on" goes_on

served_by=$(worker)
old=$(main_pid vtpmd)
is "restart the fork server" systemctl restart vtpm-engine
is "the device has another worker" eventually other_worker
is "vtpmd has stayed" test "$(main_pid vtpmd)" = "$old"
is "the client goes on" goes_on
is "stop the fork server" systemctl stop vtpm-engine
is "its workers have gone with it" no_worker
is "vtpmd answers" answers
is "start it again" systemctl start vtpm-engine
is "the client goes on" goes_on

served_by=$(worker)
is "install over a running vtpmd" selftests/install --build "$build"
is "the worker has not noticed, as the engine is the same" eventually same_worker
is "the client has lost nothing" end_work
is "the device has its PCR" same_pcr

# What the installation guide and vtpmd(8) say about other keys and other people.
groupadd -r vtpm-admin
mkdir -p /etc/credstore.encrypted
head -c 32 /dev/urandom | systemd-creds encrypt --name=vtpm-host-key - /etc/credstore.encrypted/vtpm-host-key 2>/dev/null
credential=LoadCredentialEncrypted=vtpm-host-key
is "the host key moves to a credential of systemd" with $credential \
	'Environment="VTPMD_OPTIONS=--host-key credential:vtpm-host-key --old-host-key file:/var/lib/vtpm/host.key"' || finish
rm /var/lib/vtpm/host.key
is "which is all that vtpmd needs, and a group controls it" with $credential SupplementaryGroups=vtpm-admin \
	'Environment="VTPMD_OPTIONS=--host-key credential:vtpm-host-key --admin-group vtpm-admin"'
is "the device has its PCR" same_pcr
is "a member of the group creates a device, on a socket" as vtpm-admin vtpmctl create vm --node socket --start
is "a stranger creates none" fails as nogroup vtpmctl create other
is "nor may he observe" fails as nogroup vtpmctl list
is "the socket answers" tpm2_getrandom -T swtpm:path=/run/vtpm/sockets/vm 8

# The TPM of this host is a device of another vtpmd.
mkdir $work/host
/usr/sbin/vtpmd --cert-profile ecc --state-dir $work/host/state --run-dir $work/host 2>$work/host.log &
host=$!
is "another vtpmd runs" eventually keeper -q list
is "there is a TPM" keeper create host --start
is "udev names it" eventually test -c /dev/vtpm-by/name/host-rm
tpm=$(readlink -f /dev/vtpm-by/name/host-rm)
is "the host key moves to it" with $credential SupplementaryGroups=tss PrivateDevices=no "DeviceAllow=$tpm rw" \
	"Environment=\"VTPMD_OPTIONS=--host-key tpm:device:$tpm --old-host-key credential:vtpm-host-key\"" || finish
rm /etc/credstore.encrypted/vtpm-host-key
is "which is all that vtpmd needs" with SupplementaryGroups=tss PrivateDevices=no "DeviceAllow=$tpm rw" \
	"Environment=\"VTPMD_OPTIONS=--host-key tpm:device:$tpm\""
is "the device has its PCR" same_pcr
rm -r "$dropin"

is "stop the devices" vtpmctl stop --release web golden vm
is "stop the other one" keeper delete --force --release host
kill $host
is "the other vtpmd ends" wait $host
is "uninstall" selftests/install --uninstall --version "$version"
is "nothing is left" nothing_left
is "but the state" test -s /var/lib/vtpm/store.db -a -s /var/lib/vtpm/host.key.tpm
is "the module is unloaded" test ! -e /sys/module/vtpm
is "modprobe does not find it" fails modprobe -q vtpm
is "uninstall again" selftests/install --uninstall --version "$version"
finish
