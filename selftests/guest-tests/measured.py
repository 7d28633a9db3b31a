# SPDX-License-Identifier: Apache-2.0
"""Measured boot on a kernel node: the event log and the PCRs agree, whatever becomes of the device."""
import os

from event_log import agree


def measured(tap, vtpmd):
    ctl = vtpmd.ctl
    manifest = os.path.join(vtpmd.folder, "manifest")
    with open(manifest, "wb") as file:
        file.write(os.urandom(5000))
    ctl("create", "web", "--mode", "read-only")
    device = ctl("start", "web", "--measure", manifest, "--measure-text", "cmdline=httpd -f")[0]

    def same(what):
        return agree(tap, device["device_path"], device["event_log"], [8, 9], what)[1]

    first = same("measured boot: the log replays to the PCRs")
    ctl("set-mode", "web", "read-write")
    same("also when the device has become read-write")
    ctl("park", "web")
    same("also when it was parked")
    ctl("power-cycle", "web", "--yes")
    tap.equal(same("also after a power cycle"), first, "which has measured the same again")
    ctl("delete", "web", "--force", "--release")
    tap.ok(not os.path.exists(device["event_log"]), "with the device goes its log")
