#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Completes some command lines with vtpmctl.bash. Usage: completion_test.sh VTPMCTL
set -u
here=$(dirname "$(readlink -f "$0")")
vtpmctl=$1
failed=0

# Answers for devices stand in for a vtpmd; all else is the program's own.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/vtpmctl" <<SCRIPT
#!/bin/bash
case "\$*" in
  *"__complete snapshots") printf 'web@a\t2026-01-01\nweb@b\t2026-01-02\n' ;;
  *"__complete devices") printf 'web\ton\nweb-2\toff\ndb\ton\n'; echo "\$*" > "$work/asked" ;;
  *) exec "$vtpmctl" "\$@" ;;
esac
SCRIPT
chmod +x "$work/vtpmctl"

# shellcheck source=/dev/null
. "$here/vtpmctl.bash"

# check EXPECTED WORD...: what is offered for the last word, sorted, in one line.
check() {
  local expected=$1 got
  shift
  COMP_WORDS=("$work/vtpmctl" "$@")
  COMP_CWORD=$#
  COMPREPLY=()
  _vtpmctl
  got=$(printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd' ')
  if [[ $got != "$expected" ]]; then
    echo "FAIL: vtpmctl $*: expected '$expected', got '$got'"
    failed=1
  fi
}

check "start stop" st
check "power-cycle" po
check "park" pa
check "attach ca cert clone create delete denied detach doctor event-log explain export generalize host-key import lineage list park power-cycle rebase release rollback set set-mode show snapshot start stop template verify version watch" ""
check "web web-2" start w
check "db web web-2" stop web ""
check "web web-2" attach w
check "--as" attach web --pid 1 --as
check "" attach web --pid ""
check "db web web-2" detach --pid 1 ""
check "db web web-2" denied --limit 5 ""
check "--command-timeout --compat" create x --com
check "--quiet" --q
check "--output" list --out
check "read-only read-write" create x --mode ""
check "json" -o j
check "vm" create x --for v
check "lineage list" -o json li
check "--measure --measure-text" start --mea
check "db web web-2" event-log ""
check "" create x --owner ""
check "" create ""
check "" list ""
check "recipient rotate" host-key ""
check "db web web-2" export ""
check "db web web-2" set ""
check "db web web-2" set-mode ""
check "read-write" set-mode web ""
check "never" set web --park-after n
check "full" create x --cert-profile f
check "db web web-2 web@a web@b" clone ""
check "web@a web@b" rollback ""
check "a b" rollback web @
check "a" rollback web @ a
check "create delete list show" snapshot ""
check "web-2@ web@" snapshot create w
check "web web-2" snapshot list w
check "web@a web@b" snapshot delete ""
check "a b" snapshot show web @
check "a b" snapshot delete web@a web @
check "" clone web ""
check "web web-2" create x --from w
check "web web-2" generalize w
check "create delete list show" template ""
check "db web web-2" template show ""
check "" template create ""
check "web web-2" template create x --from w
check "crl export import init show" ca ""
check "export" ca e
check "--csr" ca init --cs
check "db" --socket /s show d
if [[ $(cat "$work/asked") != "--socket /s __complete devices" ]]; then
  echo "FAIL: --socket is not passed on: $(cat "$work/asked")"
  failed=1
fi
exit $failed
