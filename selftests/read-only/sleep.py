# SPDX-License-Identifier: Apache-2.0
"""A VM sleeps (S3): TPM2_Shutdown(STATE), the power of its TPM goes and comes, TPM2_Startup(STATE)."""
import os
import signal
import struct

from harness import until
from tpm_commands import OWNER, READ_ONLY, Tpm, create_primary, extend, shutdown, startup

KEPT, RESET = 10, 16  # a PCR that lives through a sleep, and one that does not
INITIALIZE = 0x100  # TPM_RC_INITIALIZE: the TPM is on already
INIT = struct.pack(">II", 2, 0)  # CMD_INIT of swtpm's protocol: what QEMU sends when its machine resets or wakes


def go_to_sleep(tpm):
    tpm.ask(extend(KEPT, bytes(32)))
    tpm.ask(extend(RESET, bytes(32)))
    kept = tpm.pcr(KEPT)
    tpm.ask(shutdown(state=True))
    return kept


def replace_worker(host, name):
    before = host.ctl("show", name)["worker_pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: (view := host.ctl("show", name))["state"] == "on" and view["worker_pid"] != before)


def cut_power(view):
    with Tpm(view["socket_path"] + ".ctrl") as control:
        control.send(INIT)
        if control.receive(4) != bytes(4):
            raise OSError("CMD_INIT fails")


def sleep_on_socket(tap, host):
    """QEMU's machine cuts and restores the power of its TPM, TPM2_Startup is its firmware's."""
    def nothing(_):
        pass

    def die(name):
        replace_worker(host, name)

    def switch(name):
        host.ctl("set-mode", name, "read-write")

    for name, as_it_falls_asleep, while_it_sleeps, refused in (
            ("undisturbed", nothing, nothing, READ_ONLY), ("its-workers-die", die, die, READ_ONLY),
            ("switched-before", switch, nothing, 0), ("switched-meanwhile", nothing, switch, 0)):
        view = host.ctl("create", name, "--mode", "read-only", "--for", "vm", "--node", "socket", "--start")
        with Tpm(view["socket_path"]) as tpm:
            tpm.ask(startup())
            kept = go_to_sleep(tpm)
        as_it_falls_asleep(name)
        cut_power(view)
        while_it_sleeps(name)
        with Tpm(view["socket_path"]) as tpm:
            woken = tpm.code(startup(state=True))
            tap.ok(woken == 0 and tpm.pcr(KEPT) == kept and tpm.pcr(RESET) == bytes(32),
                   f"a VM on a socket sleeps, {name}: Startup(STATE) has its PCRs", f"{woken:#x}")
            tap.equal(tpm.code(create_primary(OWNER)), refused, f"and it makes {'no' if refused else 'its'} keys")
            kept = go_to_sleep(tpm)
        cut_power(view)
        with Tpm(view["socket_path"]) as tpm:
            tap.ok(tpm.code(startup(state=True)) == 0 and tpm.pcr(KEPT) == kept, "it sleeps again")
        host.ctl("delete", name, "--force")
    view = host.ctl("create", "unstarted", "--mode", "read-only", "--for", "vm", "--node", "socket", "--start")
    host.ctl("set-mode", "unstarted", "read-write")
    with Tpm(view["socket_path"]) as tpm:
        tap.equal((tpm.code(startup()), tpm.code(create_primary(OWNER))), (0, 0),
                  "one that is switched before its firmware starts it makes keys when that has come")
        tpm.ask(shutdown())
    host.ctl("delete", "unstarted", "--force")


def sleep_on_node(tap, host):
    """A kernel node has power while its VM sleeps: the TPM is on when the firmware wakes it, and has forgotten nothing."""
    view = host.create("napper", "--mode", "read-only", "--for", "vm")
    with host.open(view) as tpm:
        kept = go_to_sleep(tpm)
        host.ctl("park", "napper")
        tap.equal((tpm.code(startup(state=True)), tpm.pcr(KEPT) == kept, tpm.code(create_primary(OWNER))),
                  (INITIALIZE, True, READ_ONLY), "a VM on a kernel node slept, its TPM was parked: PCRs and mode are there")
        go_to_sleep(tpm)
        kept = tpm.pcr(KEPT)
        host.ctl("set-mode", "napper", "read-write")
        tap.equal((tpm.code(startup(state=True)), tpm.pcr(KEPT) == kept, tpm.code(create_primary(OWNER))),
                  (INITIALIZE, True, 0), "so they are if it was switched, and it makes keys")
    host.ctl("delete", "napper", "--force", "--release")
