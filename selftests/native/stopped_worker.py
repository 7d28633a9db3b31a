# SPDX-License-Identifier: Apache-2.0
"""A worker that is stopped (SIGSTOP) with a command in flight, replaced, and continued: it writes nowhere."""
import functools
import hashlib
import os
import select
import signal
import threading
import time

from clients import COUNTER, PCR, pcr
from harness import Vtpmd, until
from tpm_commands import Tpm, define_counter, extend, increment, read_counter

NAME, STEPS = "stopped", 3
soon = functools.partial(until, seconds=60)
DIGEST = hashlib.sha256(b"a step").digest()


def chain(steps):
    value = bytes(32)
    for _ in range(steps):
        value = hashlib.sha256(value + DIGEST).digest()
    return value


class Asker(threading.Thread):
    """One command and what became of it: `error`, or neither as long as its client waits."""

    def __init__(self, tpm, frame):
        super().__init__(daemon=True)
        self.tpm, self.frame, self.answered, self.error = tpm, frame, False, None
        self.start()

    def run(self):
        try:
            self.tpm.ask(self.frame)
            self.answered = True
        except OSError as error:
            self.error = error

    def reported(self):
        self.join(30)
        return self.error is not None and not self.answered


class Worker:
    """The process that serves the device now: stopped, with its journal open here, and by pidfd continued."""

    def __init__(self, vtpmd):
        self.vtpmd = vtpmd
        soon(lambda: vtpmd.ctl("show", NAME)["worker_pid"])
        shown = vtpmd.ctl("show", NAME)
        self.pid = shown["worker_pid"]
        self.pidfd = os.pidfd_open(self.pid)
        self.path = os.path.join(vtpmd.run, "journal", shown["uuid"])
        self.journal = open(self.path, "rb")

    def state(self):
        try:
            with open(f"/proc/{self.pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return None

    def freeze(self):
        signal.pidfd_send_signal(self.pidfd, signal.SIGSTOP)
        until(lambda: self.state() == "T", 10)
        self.mapped = self.own_journal()
        return self.state() == "T"

    def own_journal(self):
        """Of the file that it has mapped, which may have lost its name since."""
        return os.pread(self.journal.fileno(), 1 << 20, 0)

    def dead(self):
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def thaw(self):
        """True: there was still somebody to be continued."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGCONT)
            return not self.dead()
        except ProcessLookupError:
            return False

    def written(self):
        """All that outlives a worker."""
        with open(self.path, "rb") as file:
            return self.own_journal(), file.read(), self.vtpmd.records()[NAME]

    def close(self):
        os.close(self.pidfd)
        self.journal.close()


class Rounds:
    """A device of one vtpmd; in each round its worker is stopped, and something happens to all the others."""

    def __init__(self, tap):
        self.tap, self.vtpmd = tap, Vtpmd()
        self.vtpmd.ctl("create", NAME, "--node", "socket", "--start")
        self.node = os.path.join(self.vtpmd.run, "sockets", NAME)
        self.steps = self.count = 0
        with Tpm(self.node) as tpm:
            tpm.ask(define_counter(COUNTER))
            tpm.ask(increment(COUNTER))
            self.origin = read_counter(tpm.ask, COUNTER)

    def work(self, tpm):
        for _ in range(STEPS):
            tpm.ask(extend(PCR, DIGEST))
            tpm.ask(increment(COUNTER))
        self.steps += STEPS
        self.count += STEPS

    def on(self):
        return soon(lambda: self.vtpmd.ctl("show", NAME)["state"] == "on")

    def look(self):
        with Tpm(self.node) as tpm:
            return tpm.pcr(PCR), read_counter(tpm.ask, COUNTER) - self.origin

    def survives(self, old, name):
        """The old worker is dead and the device on; the old one is continued, and nothing comes of it."""
        tap = self.tap
        tap.ok(old.dead(), f"{name}: the old worker is dead when its device is on")
        before = old.written()
        tap.ok(not old.thaw(), f"{name}: nobody is there to be continued")
        time.sleep(0.3)
        tap.ok(old.written() == before and old.own_journal() == old.mapped,
               f"{name}: neither journal nor store has changed")

    def cut(self, name, act, power=False):
        """An extend waits in the socket of the stopped worker. `act` ends the worker."""
        tap, old, tpm = self.tap, Worker(self.vtpmd), Tpm(self.node)
        self.work(tpm)
        tap.ok(old.freeze(), f"{name}: the worker is stopped")
        asker = Asker(tpm, extend(PCR, DIGEST))
        time.sleep(0.2)
        tap.ok(not asker.answered and not asker.error, f"{name}: its client waits", asker.error)
        act()
        self.on()
        self.survives(old, name)
        tap.ok(asker.reported(), f"{name}: the client hears that its connection is cut")
        if power:
            self.steps = 0
        tap.equal(self.look(), (chain(self.steps), self.count), f"{name}: the command was not done, all others once")
        tpm.close()
        old.close()

    def commit(self, name, act, answered):
        """An increment of the stopped worker waits for the store. `act` brings a vtpmd, with or without the worker."""
        tap, vtpmd, old, tpm = self.tap, self.vtpmd, Worker(self.vtpmd), Tpm(self.node)
        self.work(tpm)
        vtpmd.stop(signal.SIGKILL)
        asker = Asker(tpm, increment(COUNTER))
        time.sleep(0.3)
        tap.ok(old.freeze() and not asker.answered, f"{name}: the worker is stopped as it waits for the store")
        act()
        if answered:
            time.sleep(0.5)
            shown = vtpmd.ctl("show", NAME)
            tap.ok(shown["worker_pid"] == old.pid and old.state() == "T", f"{name}: no other one takes its place", shown)
            tap.ok(old.thaw(), f"{name}: it is continued")
            asker.join(30)
            tap.ok(asker.answered, f"{name}: and answers its client", asker.error)
            tpm.close()
            self.on()
            self.count += 1
        else:
            self.on()
            self.survives(old, name)
            tap.ok(asker.reported(), f"{name}: the client hears that its connection is cut")
            tpm.close()
            # What it asked for may have been read by a vtpmd that died.
            self.count += self.look()[1] - self.count == 1
        tap.equal(self.look(), (chain(self.steps), self.count), f"{name}: PCR and counter are exact")
        old.close()

    def kill_all(self):
        """vtpmd and the fork server, in the order in which neither can mend the death of the other."""
        vtpmd, server = self.vtpmd, os.pidfd_open(self.vtpmd.fork_server())
        if vtpmd.process.poll() is None:
            vtpmd.process.send_signal(signal.SIGSTOP)
        signal.pidfd_send_signal(server, signal.SIGKILL)
        os.close(server)
        vtpmd.stop(signal.SIGKILL)
        vtpmd.start()

    def kill_fork_server(self):
        before = self.vtpmd.ctl("show", NAME)["restarts"]
        os.kill(self.vtpmd.fork_server(), signal.SIGKILL)
        soon(lambda: self.vtpmd.ctl("show", NAME)["restarts"] > before)

    def run(self):
        cycle = functools.partial(self.vtpmd.ctl, "power-cycle", NAME, "--yes")
        self.cut("power-cycle", cycle, power=True)
        self.cut("fork server killed", self.kill_fork_server)
        self.cut("all killed", self.kill_all)
        self.commit("vtpmd killed", self.vtpmd.start, answered=True)
        self.commit("all killed in a commit", self.kill_all, answered=False)
        with Tpm(self.node) as tpm:
            self.work(tpm)
        self.tap.equal(self.look(), (chain(self.steps), self.count), "and its device goes on, exact")
        self.vtpmd.stop()


class StopByOrder(threading.Thread):
    """`vtpmctl stop` of a device whose worker is stopped: it waits half a minute for an orderly end, so beside others."""

    def __init__(self):
        super().__init__(daemon=True)
        self.vtpmd = Vtpmd()
        self.vtpmd.ctl("create", NAME, "--node", "socket", "--start")
        self.node = os.path.join(self.vtpmd.run, "sockets", NAME)
        self.old, self.tpm = Worker(self.vtpmd), Tpm(self.node)
        self.tpm.ask(extend(PCR, DIGEST))
        self.frozen = self.old.freeze()
        self.asker = Asker(self.tpm, extend(PCR, DIGEST))
        self.start()

    def run(self):
        self.vtpmd.ctl("stop", NAME)

    def judge(self, tap):
        old, name = self.old, "vtpmctl stop"
        self.join(90)
        tap.ok(self.frozen and self.vtpmd.ctl("show", NAME)["state"] == "off" and old.dead(),
               f"{name}: the device is off, and the stopped worker dead")
        tap.ok(not os.path.exists(old.path), f"{name}: its journal is gone")
        before = self.vtpmd.records()[NAME]
        tap.ok(not old.thaw(), f"{name}: nobody is there to be continued")
        time.sleep(0.3)
        tap.ok(old.own_journal() == old.mapped and not os.path.exists(old.path)
               and self.vtpmd.records()[NAME] == before, f"{name}: neither journal nor store has changed")
        tap.ok(self.asker.reported(), f"{name}: the client hears that its connection is cut")
        self.vtpmd.ctl("start", NAME)
        tap.equal(pcr(self.node), bytes(32), f"{name}: the next power cycle begins anew")
        self.tpm.close()
        old.close()
        self.vtpmd.stop()
