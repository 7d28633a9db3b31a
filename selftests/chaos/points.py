# SPDX-License-Identifier: Apache-2.0
"""Places in a running program at which it dies, named by function.

A breakpoint instruction is written over the code of one process (its own copy of the page). Nobody traces the
process, so whoever runs into it is killed by SIGTRAP at exactly this instruction; vtpmd takes that for a death
from outside, as it does SIGKILL. The programs hold no code for it: what is tested is what is installed.
"""
import os
import re
import subprocess
import time

BREAKPOINT = b"\xcc"  # int3


class Point:
    """`name` for people; `symbol` matches the start of a demangled function; `anywhere`: any instruction of it."""

    def __init__(self, name, symbol, anywhere=False):
        self.name, self.symbol, self.anywhere = name, symbol, anywhere


class Image:
    """The functions of a program file."""

    def __init__(self, path, points):
        self.name = os.path.basename(path)
        table = subprocess.run(["nm", "-CS", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        functions = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [tT] (.*)$", table, re.M)
        self.places = {}
        for point in points:
            found = [(int(start, 16), int(size, 16)) for start, size, name in functions
                     if name.startswith(point.symbol) and "[clone" not in name]
            if len(found) != 1:
                raise SystemExit(f"Bail out! {self.name}: {len(found)} functions are named {point.symbol}")
            start, size = found[0]
            self.places[point] = instructions(path, start, start + size) if point.anywhere else [start]

    def plant(self, pid, point, dice):
        """False: the process is gone, or is not this program."""
        return self.write(pid, dice.choice(self.places[point]), BREAKPOINT) is not None

    def plant_in_children(self, pid, point):
        """At the beginning of a function that this process never calls, but those that it forks do. What was there."""
        return self.write(pid, self.places[point][0], BREAKPOINT)

    def take_out(self, pid, point, code):
        return self.write(pid, self.places[point][0], code)

    def write(self, pid, place, code):
        """What was there before; None: there is no such process of this program."""
        try:
            with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
                firsts = [int(line.split("-")[0], 16) for line in maps
                          if line.rstrip().endswith("/" + self.name) and line.split()[2] == "00000000"]
            if not firsts:
                return None
            with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
                memory.seek(firsts[0] + place)
                before = memory.read(len(code))
                memory.seek(firsts[0] + place)
                memory.write(code)
            return before
        except OSError:
            return None


def instructions(path, start, stop):
    """Where each one begins."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={start:#x}",
                           f"--stop-address={stop:#x}", path], capture_output=True, text=True, check=True).stdout
    return [int(address, 16) for address in re.findall(r"^ +([0-9a-f]+):\t", text, re.M)]


def gone(pid):
    """Whether it is dead, be it waited for or not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


