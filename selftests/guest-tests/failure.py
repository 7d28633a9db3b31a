# SPDX-License-Identifier: Apache-2.0
"""A device that has failed answers TPM_RC_FAILURE on both nodes, until its power is cut. Part of suite."""
import os
import signal
import struct
import threading
import time

from harness import until

FAILURE = bytes.fromhex("80010000000a00000101")
GET_TEST_RESULT = bytes.fromhex("80010000000a0000017c")
READ_PCR_23 = bytes.fromhex("80010000001400" "00017e00000001000b03000080")
EXTEND_PCR_23 = bytes.fromhex("80020000004100000182000000170000000940000009000000000000000001000b" + "17" * 32)
# Makes an RSA-3072 key in the null hierarchy: seconds of work for an emulated processor.
SLOW_BODY = bytes.fromhex("40000007" "00000009400000090000000000" "000400000000"
                          "0016" "0001000b00040072" "0000" "0010" "0010" "0c0000000000" "0000" "0000" "00000000")
SLOW = struct.pack(">HII", 0x8002, 10 + len(SLOW_BODY), 0x131) + SLOW_BODY


def ask(node, frame):
    with open(node, "r+b", buffering=0) as file:
        file.write(frame)
        return file.read(4096)


def answers_failure(node):
    return all(ask(node, frame) == FAILURE for frame in (READ_PCR_23, EXTEND_PCR_23))


class Asker(threading.Thread):
    """One command whose answer may take long."""

    def __init__(self, node, frame):
        super().__init__(daemon=True)
        self.node, self.frame, self.reply = node, frame, None

    def run(self):
        try:
            self.reply = ask(self.node, self.frame)
        except OSError as error:
            self.reply = error


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def workers(server):
    """Children of the fork server that are users of their own; not those of its warm-up."""
    found = set()
    for pid in children(server):
        try:
            with open(f"/proc/{pid}/status") as file:
                uid = int(next(line for line in file if line.startswith("Uid:")).split()[1])
        except OSError:
            continue
        if uid >= 2_000_000_000:
            found.add(pid)
    return found


def poison(tap, vtpmd):
    """Two workers die of SIGSEGV while they work on one command: as if its bytes had done it."""
    device = vtpmd.ctl("create", "frail", "--start")
    node = device["device_path"]
    ask(node, EXTEND_PCR_23)
    server = children(vtpmd.process.pid)[0]
    bystanders, crashed = workers(server) - {device["worker_pid"]}, set()
    client = Asker(node, SLOW)
    client.start()
    time.sleep(0.3)
    deadline = time.monotonic() + 60
    while len(crashed) < 2 and time.monotonic() < deadline:
        for pid in workers(server) - bystanders - crashed:
            os.kill(pid, signal.SIGSEGV)
            crashed.add(pid)
        time.sleep(0.005)
    client.join(60)
    tap.equal(client.reply, FAILURE, "a command that two workers crashed on is answered TPM_RC_FAILURE")
    show = vtpmd.ctl("show", "frail")
    tap.ok(show["state"] == "failed" and "crashed on command" in show["failure"] and show["restarts"] == 1,
           "and no third worker tries it", show)
    tap.ok(answers_failure(node) and answers_failure(device["rm_device_path"]), "the device shows no PCR and takes none")
    tap.equal(ask(node, GET_TEST_RESULT).hex(), "80010000001000000000000000000101", "GetTestResult says that it failed")
    vtpmd.ctl("power-cycle", "frail", "--yes")
    tap.equal(ask(node, READ_PCR_23)[-32:], bytes(32), "a power-cycle brings it back, with PCRs at zero")
    vtpmd.ctl("delete", "frail", "--force", "--release")


def lost_state(tap, vtpmd):
    device = vtpmd.ctl("create", "torn", "--start")
    node = device["device_path"]
    with open(node, "r+b", buffering=0) as file:  # a client that stays
        file.write(EXTEND_PCR_23)
        file.read(4096)
        with open(os.path.join(vtpmd.run, "journal", device["uuid"]), "r+b") as journal:
            journal.write(os.urandom(8192))
        os.kill(device["worker_pid"], signal.SIGKILL)
        file.write(READ_PCR_23)
        tap.equal(file.read(4096), FAILURE, "a corrupt journal under a live client is no reset of PCRs")
        vtpmd.stop()
        vtpmd.start()
        tap.ok(until(lambda: vtpmd.ctl("show", "torn")["worker_pid"]) and answers_failure(device["rm_device_path"]),
               "the next vtpmd does not forget", vtpmd.ctl("show", "torn"))
        file.write(EXTEND_PCR_23)
        tap.equal(file.read(4096), FAILURE, "nor does the client's open file lead anywhere else")
        vtpmd.ctl("power-cycle", "torn", "--yes")
        file.write(READ_PCR_23)
        tap.equal(file.read(4096)[-32:], bytes(32), "it goes on after the power-cycle, with PCRs at zero")
    vtpmd.ctl("delete", "torn", "--force", "--release")


def failure(tap, vtpmd):
    poison(tap, vtpmd)
    lost_state(tap, vtpmd)
