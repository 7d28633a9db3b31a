# SPDX-License-Identifier: Apache-2.0
"""Who dies when: rounds of deaths, of one process or of many at the same time."""
import contextlib
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import BUILD  # noqa: E402
from points import Image, Point, gone  # noqa: E402

# A command's way through a worker, and a commit's through vtpmd.
WORKER_POINTS = [
    Point("before the gate", "vtpm::policy::Gate::decide("),
    Point("before execute", "vtpm::engine::(anonymous namespace)::LibtpmsEngine::process("),
    Point("after execute", "vtpm::worker::Keeper::keep("),
    Point("before reply", "vtpm::channel::(anonymous namespace)::KernelChannel::exchange("),
    Point("anywhere around reply", "vtpm::channel::(anonymous namespace)::KernelChannel::exchange(", anywhere=True),
    Point("anywhere in the pipeline", "vtpm::worker::(anonymous namespace)::Worker::answer(", anywhere=True),
]
JOURNAL_POINTS = [
    Point("before journal write", "vtpm::journal::Journal::commit("),
    Point("within journal write", "vtpm::journal::Journal::commit(", anywhere=True),
]
REDO_POINTS = [
    Point("before adding a command to the journal", "vtpm::journal::Journal::append("),
    Point("within adding a command to the journal", "vtpm::journal::Journal::append(", anywhere=True),
]
STORE_POINTS = [
    Point("before asking for a commit", "vtpm::privsep::send_datagram("),
    Point("before hearing of a commit", "vtpm::privsep::receive_datagram("),
    Point("anywhere around a commit", "vtpm::worker::Keeper::keep(", anywhere=True),
]
VTPMD_POINTS = [
    Point("a commit has arrived", "vtpm::device::Device::on_commit("),
    Point("before store commit", "vtpm::store::(anonymous namespace)::SqliteStore::commit_all("),
    Point("within store commit", "vtpm::store::(anonymous namespace)::SqliteStore::commit_all(", anywhere=True),
    Point("after store commit", "vtpm::device::Device::on_committed("),
]
VTPMD, SERVER = "vtpmd", "fork server"
STORES = "counts"  # the client whose commands are commits
# Whose commands come by, where it is not everybody's.
COME_BY = [(STORE_POINTS, [STORES]), (REDO_POINTS, ["extends"]), (JOURNAL_POINTS, ["gambles", "signs", "talks"])]
ENGINE_POINTS = WORKER_POINTS + JOURNAL_POINTS + REDO_POINTS + STORE_POINTS
ROUND_SIZES = (1, 1, 3, 5, 7)
PATIENCE = 20  # seconds for what an emulated processor needs moments for
TRIES = 5  # instructions of a function; half of them are for what goes wrong, and not on the way


class Workers:
    """Which process serves which device: a worker maps the journal that bears the device's uuid."""

    def __init__(self, vtpmd, names):
        self.vtpmd, self.names, self.known = vtpmd, names, {}

    def pid(self, name):
        """None: it has no worker now."""
        try:
            server = self.vtpmd.fork_server()
            with open(f"/proc/{server}/task/{server}/children") as file:
                children = [int(child) for child in file.read().split()]
        except (OSError, ValueError):
            return None
        self.known = {pid: self.known.get(pid) or self.serves(pid) for pid in children}
        return next((pid for pid, served in self.known.items() if served == name and not gone(pid)), None)

    def serves(self, pid):
        try:
            with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
                found = re.search(r"/journal/([0-9a-f-]{36})$", maps.read(), re.M)
        except OSError:
            return None
        return found and self.names.get(found[1])


class Hunt:
    """One victim, from the moment that somebody is after it until it is dead."""

    def __init__(self, killer, victim, point):
        self.killer, self.victim, self.point = killer, victim, point
        self.client = killer.clients.get(STORES if victim == VTPMD else victim)
        self.pid, self.passed, self.late_from = None, 0, time.monotonic() + PATIENCE
        self.tries = 0 if point is None else TRIES if point.anywhere else 1

    def over(self):
        """Whether it has come to its end; called again and again."""
        if self.pid is None:
            self.pid = self.killer.pid(self.victim)
            if self.pid is None:
                self.killer.missed += self.late()
                return self.late()
        if gone(self.pid):
            self.killer.died(self, at_point=self.passed > 0)
            return True
        if self.late() or not self.waits():
            self.passed = 0
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return False

    def waits(self):
        """For its client to come by: two rounds of it later, a whole one lies behind."""
        if self.client.done < self.passed:
            return True
        if not self.tries:
            return False
        if self.killer.plant(self.victim, self.pid, self.point):
            self.tries, self.passed = self.tries - 1, self.client.done + 2
        else:
            self.pid, self.passed = None, 0
        return True

    def late(self):
        return time.monotonic() > self.late_from


class Killer:
    """Plans and does the murders, and keeps the tally. `names` are the devices by uuid, `clients` theirs by name."""

    def __init__(self, vtpmd, names, clients, dice):
        self.vtpmd, self.clients, self.dice = vtpmd, clients, dice
        self.workers = Workers(vtpmd, names)
        self.engine = Image(os.path.join(BUILD, "vtpm-engine"), ENGINE_POINTS)
        self.manager = Image(os.path.join(BUILD, "vtpmd"), VTPMD_POINTS)
        self.tally, self.missed, self.most = {}, 0, 0

    def plan(self, kills):
        """Rounds of deaths. Every point comes up as often as the others, in an order that the seed decides."""
        points = [("worker", p) for p in ENGINE_POINTS] + [(VTPMD, p) for p in VTPMD_POINTS]
        deaths = [points[i % len(points)] for i in range(kills * 2 // 3)]
        while len(deaths) < kills:
            deaths.append((self.dice.choices(("worker", SERVER, VTPMD), (12, 1, 1))[0], None))
        self.dice.shuffle(deaths)
        while deaths:
            deal, size = {}, self.dice.choice(ROUND_SIZES)
            for i in reversed(range(len(deaths))):
                victim = self.victim(*deaths[i], deal) if len(deal) < size else None
                if victim:
                    deal[victim] = deaths.pop(i)[1]
            yield deal

    def victim(self, what, point, deal):
        """None: nobody is left for this death in this round. All workers die with the fork server, so none is hunted."""
        if what == "worker":
            clash = SERVER in deal
            whom = next((names for points, names in COME_BY if point in points), self.clients)
        else:
            clash, whom = what == SERVER and not deal.keys() <= {VTPMD}, [what]
        free = [name for name in whom if not clash and name not in deal]
        return self.dice.choice(free) if free else None

    def round(self, deal):
        """All of them side by side."""
        before, restart = sum(self.tally.values()), VTPMD in deal
        hunts = [Hunt(self, victim, point) for victim, point in deal.items() if victim != SERVER]
        if SERVER in deal and VTPMD not in deal:
            self.kill_server()
        while hunts:
            hunts = [hunt for hunt in hunts if not hunt.over()]
            if restart and not any(hunt.victim == VTPMD for hunt in hunts):
                # Now, as workers may wait for it on the way to their points.
                if SERVER in deal:
                    self.kill_server()
                self.vtpmd.start()
                restart = False
            time.sleep(0.005)
        self.most = max(self.most, sum(self.tally.values()) - before)

    def kill_server(self):
        try:
            os.kill(self.vtpmd.fork_server(), signal.SIGKILL)
            self.count(SERVER)
        except ProcessLookupError:
            self.missed += 1

    def pid(self, victim):
        return self.vtpmd.process.pid if victim == VTPMD else self.workers.pid(victim)

    def plant(self, victim, pid, point):
        return (self.manager if victim == VTPMD else self.engine).plant(pid, point, self.dice)

    def died(self, hunt, at_point):
        what = VTPMD if hunt.victim == VTPMD else "worker"
        if what == VTPMD:  # of whom it is known for certain
            at_point = self.vtpmd.stop(signal.SIGKILL) == -signal.SIGTRAP
        self.count(f"{what}, {hunt.point.name}" if at_point else what)

    def count(self, what):
        self.tally[what] = self.tally.get(what, 0) + 1

    def never(self):
        """The points that nobody died at; not every instruction of a function is on the way."""
        return [f"{what}, {point.name}" for what, points in (("worker", ENGINE_POINTS), (VTPMD, VTPMD_POINTS))
                for point in points if not point.anywhere and f"{what}, {point.name}" not in self.tally]
