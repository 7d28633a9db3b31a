# SPDX-License-Identifier: Apache-2.0
"""The options of the benchmark: `run` takes them all, and gives them to each place where it measures."""
import argparse

DEFAULT = ("latency", "throughput", "life", "identity", "clone", "memory")
ALL = (*DEFAULT, "pace", "storm")
ONLY = {"identity": "native", "pace": "guest"}  # what makes sense in one place alone


def parts_in(where, options):
    return [part for part in options.part if ONLY.get(part, where) == where]


def parser():
    p = argparse.ArgumentParser(prog="selftests/bench/run", description="Documentation/benchmarks.md explains it.")
    p.add_argument("part", nargs="*", metavar="PART", help=f"{', '.join(ALL)}; default: {', '.join(DEFAULT)}")
    p.add_argument("--where", choices=["guest", "native"], action="append", help="default: both")
    p.add_argument("--kernel", choices=["6.1", "6.12"], default="6.12", help="of the guest")
    p.add_argument("--mem", type=int, default=3072, help="MB of the guest")
    p.add_argument("--cpus", type=int, default=2, help="of the guest")
    p.add_argument("--build", default="build/release")
    p.add_argument("--module", help="default: build/kernel/KERNEL/vtpm.ko")
    p.add_argument("--out", default="build/bench")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--count", type=int, default=60, help="commands of a round (latency)")
    p.add_argument("--work", action="append", help="only this one (latency); again for more")
    p.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 8, 64], help="devices (throughput)")
    p.add_argument("--seconds", type=float, help="of a round (throughput 1, pace 10)")
    p.add_argument("--devices", type=int, help="how many (clone 50, memory 40, storm 1000, pace 200)")
    p.add_argument("--mode", choices=["read-only", "read-write"], default="read-only", help="of those (storm)")
    p.add_argument("--max-active", type=int, default=0, help="vtpmd's, in the guest (storm)")
    return p


def parse(arguments):
    options = parser().parse_args(arguments)
    options.part = options.part or list(DEFAULT)
    options.where = options.where or ["guest", "native"]
    unknown = set(options.part) - set(ALL)
    if unknown:
        parser().error(f"no part {', '.join(sorted(unknown))}")
    return options
