# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmark. Each measures and yields tables: {"title", "unit", "floor", "against", "rows"}, where
rows[work][subject] are the rounds, each a list of what was measured in it."""
import os
import shutil
import tempfile
import time

from place import (FLOOR, GUEST, RIVAL, Ours, Rival, environment, keep_on, measured, meminfo, memory, new_swtpm_identity,
                   node, pages_of, until)

WORKS = ("PCR_Read", "PCR_Extend", "GetRandom", "NV_Read", "NV_Write", "Sign", "Unseal")
SESSION = "SessionUnseal"
MOST_IN_TREE = 8  # at once: each takes seconds to register, and some give up if there are many


def works(names):
    return [word for name in names for word in ("--work", name)]


def table(title, rows, unit="us", floor=None, against=None, **more):
    return {"title": title, "unit": unit, "floor": floor, "against": against, "rows": rows, **more}


def transposed(measurements):
    """{subject: {work: rounds}} as {work: {subject: rounds}}."""
    rows = {}
    for subject, steps in measurements.items():
        for work, rounds in steps.items():
            rows.setdefault(work, {})[subject] = rounds
    return rows


def set_busy_wait(device, microseconds):
    with open(f"/sys/class/tpm/{os.path.basename(device['device_path'])}/device/busy_wait_us", "w", encoding="ascii") as file:
        file.write(str(microseconds))


def busy_waits(device):
    """How often busy-waiting of a device brought something until now, and for how long it went on."""
    folder = f"/sys/class/tpm/{os.path.basename(device['device_path'])}/device/busy_wait"
    counts = {}
    for name in ("client_hits", "client_misses", "client_spun_ns", "engine_hits", "engine_misses", "engine_spun_ns"):
        with open(os.path.join(folder, name), encoding="ascii") as file:
            counts[name.replace("_", " ")] = int(file.read())
    return counts


def latency(options):
    """One client: how long a command takes."""
    ours, rival = Ours(), Rival()
    devices = {"read-only": ours.create(["bench-ro"], "--mode", "read-only")[0], "read-write": ours.create(["bench-rw"])[0]}
    if GUEST:
        devices["rw, no busy-wait"] = ours.create(["bench-sleep"])[0]
        set_busy_wait(devices["rw, no busy-wait"], 0)
    yield environment(ours.vtpmd)
    floors = [f"{FLOOR}={FLOOR}:", f"{FLOOR}-again={FLOOR}:", "libtpms, piped=libtpms-pipe:", "libtpms=libtpms:"]
    plain = [f"{name}={node(device)}" for name, device in devices.items()] + [f"{RIVAL}={rival.node}"]
    managed = [f"{name}={node(device, True)}" for name, device in devices.items()] + [f"{RIVAL}={rival.rm_node}"]
    asked = [name for name in WORKS if name in (options.work or WORKS)]
    sizes = ["--rounds", str(options.rounds), "--count", str(options.count)]
    everywhere = os.sched_getaffinity(0)
    first = min(everywhere)
    served = [rival.pid] + [device["worker_pid"] for device in devices.values()]
    for where, cpus, cpu in ((f"all on one CPU of {len(everywhere)}", {first}, first),
                             (f"on {len(everywhere)} CPUs, wherever the scheduler puts them", everywhere, None)):
        keep_on(served, cpus)
        rows = measured("bench", "latency", *sizes, *works(asked), *floors, *plain, cpu=cpu) if asked else {}
        if SESSION in (options.work or [SESSION]):
            rows |= measured("bench", "latency", *sizes, "--work", SESSION, *floors, *managed, cpu=cpu)
        yield table(f"Latency, {where}", rows, floor=FLOOR, against=RIVAL, plot="bars")
        if GUEST:
            counts = {name: {"read-write": [[count]]} for name, count in busy_waits(devices["read-write"]).items()}
            yield table("Busy-waiting until then", counts, unit="")
    rival.end()
    ours.end()


def throughput(options):
    """Many devices, each with a client of its own, all at once."""
    most = max(options.at_once)
    ours = Ours()
    devices = ours.create([f"busy-{i}" for i in range(most)], "--mode", "read-only")
    rivals = [Rival() for _ in range(min(most, MOST_IN_TREE) if GUEST else most)]
    yield environment(ours.vtpmd)
    rows = {}
    for number in options.at_once:
        against = [f"{RIVAL}=" + ",".join(rival.node for rival in rivals[:number])] if number <= len(rivals) else []
        got = measured("bench", "throughput", "--rounds", str(max(3, options.rounds // 3)), "--seconds", str(options.seconds or 1),
                       *works(("PCR_Read", "PCR_Extend")),
                       f"{FLOOR}={FLOOR}:*{number}", f"libtpms, piped=libtpms-pipe:*{number}",
                       "vtpm=" + ",".join(node(device) for device in devices[:number]), *against)
        rows |= {f"{work}, {number} at once": subjects for work, subjects in got.items()}
    yield table("Throughput of read-only devices", rows, unit="commands/s", floor="libtpms, piped", against=RIVAL, plot="lines")
    for rival in rivals:
        rival.end()
    ours.end()


def lives(ours, rounds):
    """bench-life lives, with what of it vtpmd waited for the disk. In the guest that is nothing: its disk is memory."""
    all_times, rows = {}, {}
    for turn in range(rounds if ours.ahead else 1):
        if ours.ahead:
            ours.wait_until_ahead()
        for step, times in ours.life("lives", "--rounds", str(1 if ours.ahead else rounds)).items():
            all_times.setdefault(step, []).extend(times)
    for step, times in all_times.items():
        rows[step] = {"whole": [[time[0] for time in times]]}
        syncs = max(time[2] for time in times)
        if syncs and not GUEST:
            rows[step] |= {f"in {syncs:.0f} syncs": [[time[1] for time in times]],
                           "beside syncs": [[time[0] - time[1] for time in times]]}
    return rows


# What new devices get. A life takes three identities that can be begun ahead.
IDENTITIES = {"ECC": {"profile": "ecc"}, "RSA key made ahead": {"profile": "standard", "ahead": 4},
              "RSA key made then": {"profile": "standard"}}


def life(options):
    """What vtpmd does with devices, one at a time."""
    for name, kind in list(IDENTITIES.items())[:1 if GUEST else None]:
        ours = Ours(**kind)
        yield environment(ours.vtpmd)
        lives(ours, 1)  # what a first time costs is not what is asked
        yield table(f"Lives of devices, {name}", lives(ours, options.rounds))
        ours.end()


# What is compared with swtpm_setup and a start of swtpm; who starts again has its identity.
NEW = {"new": "read-write: created, started, first reply", "clone of a template": "template cloned read-write, started, first reply",
       "clone of a read-write device": "read-write cloned, started, first reply",
       "started again": "read-write is started again, first reply"}


def identity(options):
    """A device with an identity and certificates, from nothing to the first reply, beside swtpm; in turns."""
    profiles = {f"vtpm, {name}": Ours(**kind) for name, kind in IDENTITIES.items()}
    yield environment(profiles["vtpm, RSA key made ahead"].vtpmd)
    theirs, rows = "swtpm", {work: {} for work in NEW}

    def add(work, subject, microseconds):
        rows[work].setdefault(subject, []).append([microseconds])
    with tempfile.TemporaryDirectory(prefix="bench-setup-") as folder:
        new_swtpm_identity(folder)  # makes the authority, which is asked for once
        for turn in range(options.rounds):
            for name, ours in profiles.items():
                steps = lives(ours, 1)
                for work, step in NEW.items():
                    add(work, name, steps[step]["whole"][0][0])
                    add(work, name + ", beside syncs", steps[step]["beside syncs"][0][0])
            start = time.monotonic()
            state = new_swtpm_identity(folder)
            made = time.monotonic()
            rival = Rival(state)
            rival.first_reply()
            first = time.monotonic()
            for work in NEW:
                add(work, theirs, 1e6 * (first - (made if work == "started again" else start)))
            rival.end()
    yield table("A device with an identity, to its first reply", rows, against=theirs, plot="bars")
    for ours in profiles.values():
        ours.end()


def clone(options):
    """A running device, cloned again and again while a client uses it; natively beside a copy of swtpm's state that gets
    an identity of its own."""
    ours = Ours(profile="ecc")
    yield environment(ours.vtpmd)
    ours.life("clones", "--devices", "1", "--mode", "read-write")
    got = ours.life("clones", "--devices", str(options.devices or 50), "--mode", "read-write")
    yield table("A command of its client, while a device is cloned",
                {"TPM2_PCR_Extend": {"nobody clones": [got["quiet"]], "the slowest during a clone": [got["pause"]]}})
    rows = {"a clone of a running device": {"vtpm": [got["clone"]]}}
    if not GUEST:
        with tempfile.TemporaryDirectory(prefix="bench-setup-") as folder:
            source = os.path.join(folder, "source")
            os.rename(new_swtpm_identity(folder), source)
            for turn in range(options.rounds):
                start = time.monotonic()
                shutil.copytree(source, os.path.join(folder, f"copy-{turn}"))
                rival = Rival(new_swtpm_identity(folder))
                rival.first_reply()
                rows["a clone of a running device"].setdefault("swtpm", [[]])[0].append(1e6 * (time.monotonic() - start))
                rival.end()
    yield table("Clones, one after the other, each until it is on", rows, against=None if GUEST else "swtpm")
    ours.end()


def weights(ours, devices):
    """kB of each worker, after the work that it did."""
    rows = {}
    for device in devices:
        for name, kb in memory(device["worker_pid"]).items():
            rows.setdefault(name, [[]])[0].append(kb)
    return rows


def memory_of_devices(options):
    """What a device takes while it has a process, and when it is parked."""
    ours, number = Ours(), options.devices or 40
    yield environment(ours.vtpmd)
    everyone = {}
    for mode in ("read-only", "read-write"):
        devices = ours.create([f"{mode}-{i}" for i in range(number if mode == "read-only" else min(number, 10))], "--mode", mode)
        for device in devices:
            measured("bench", "latency", "--rounds", "1", "--count", "30", *works(("PCR_Read", "PCR_Extend", "GetRandom")),
                     f"x={node(device)}")
        everyone[f"{mode} worker"] = weights(ours, devices)
    rivals = [Rival() for _ in range(3)]
    for rival in rivals:
        rival.first_reply()
    everyone[RIVAL if not GUEST else "swtpm"] = weights(ours, [{"worker_pid": rival.pid} for rival in rivals])
    yield table("Memory of the process that serves a device", transposed(everyone), unit="kB", against="swtpm")
    for rival in rivals:
        rival.end()
    if GUEST:
        yield parked_memory(ours, number)
    ours.end()


def parked_memory(ours, number):
    """What grows with each parked device."""
    def taken():
        machine = meminfo("MemAvailable", "Slab")
        return {"vtpmd, anonymous": memory(ours.vtpmd.process.pid)["anonymous"], "kernel slab": machine["Slab"],
                "machine, all of it": -machine["MemAvailable"]}

    def add(name, count):
        made = ours.create([f"{name}-{i}" for i in range(count)], "--mode", "read-only")
        ours.vtpmd.ctl("park", *(device["name"] for device in made))
        return made
    rows, active = {}, []
    add("first", number)  # what grows once and for all
    for turn in range(3):
        before = taken()
        made = add(f"turn-{turn}", number)
        after = taken()
        for name in before:
            rows.setdefault(name, {"a parked device": [[]]})["a parked device"][0].append((after[name] - before[name]) / number)
        active += made
    journals = [pages_of(os.path.join(ours.vtpmd.run, "journal", device["uuid"])) for device in active]
    rows["journal"] = {"a parked device": [journals]}
    return table("Memory of a parked device", rows, unit="kB")


def storm(options):
    """Many devices are created and started at once, then parked, and woken in random order."""
    number = options.devices or 1000
    if GUEST:
        for limit in ("max_devices", "max_devices_per_user"):
            with open(f"/sys/module/vtpm/parameters/{limit}", "w", encoding="ascii") as file:
                file.write(str(number + 100))
    ours = Ours(*(["--max-active", str(options.max_active)] if GUEST and options.max_active else []))
    yield environment(ours.vtpmd)
    start = ours.life("storm", "--devices", str(number), "--clients", "4", "--mode", options.mode)
    rows = {"one of them: created, started, first reply": {"vtpm": [start["each"]]}}
    until(lambda: len(ours.vtpmd.ctl("list")) == number)
    after = {"seconds for all": start["seconds"], "devices a second": number / start["seconds"],
             "MB of the machine that are free": meminfo("MemAvailable")["MemAvailable"] / 1024}
    rows["parked, woken by a command, reply"] = {"vtpm": [ours.life("wakes")["each"]]}
    bad = [device["name"] for device in ours.vtpmd.ctl("list") if device["failure"] or device["restarts"]]
    if bad:
        raise SystemExit(f"storm: failed or replaced: {bad}")
    yield table(f"{number} {options.mode} devices", rows)
    yield table(f"{number} {options.mode} devices, all together", {name: {"vtpm": [[value]]} for name, value in after.items()}, unit="")
    ours.end()


def pace(options):
    """One command a second at each of many devices: what it costs the machine, with busy-waiting and without."""
    number = options.devices or 200
    ours = Ours()
    devices = ours.create([f"slow-{i}" for i in range(number)], "--mode", "read-only")
    yield environment(ours.vtpmd)
    default = int(open(f"/sys/class/tpm/{os.path.basename(devices[0]['device_path'])}/device/busy_wait_us", encoding="ascii").read())
    nodes, rows = ",".join(node(device) for device in devices), {}
    for turn in range(max(3, options.rounds // 3)):
        for name, wait in (("no busy-wait", 0), (f"busy-wait up to {default} us", default)):
            for device in devices:
                set_busy_wait(device, wait)
            got = measured("bench", "pace", "--rounds", "1", "--seconds", str(options.seconds or 10), "--work", "PCR_Read",
                           f"x={nodes}")
            rows.setdefault("all tasks", {}).setdefault(name, []).extend(got["PCR_Read"]["x"])
    yield table(f"Processor time, one command a second at each of {number} devices", rows, unit="ms/s", floor="no busy-wait")
    ours.end()


PARTS = {"latency": latency, "throughput": throughput, "life": life, "identity": identity, "clone": clone,
         "memory": memory_of_devices, "storm": storm, "pace": pace}
