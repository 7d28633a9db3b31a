# SPDX-License-Identifier: Apache-2.0
"""The workflows of US patent 12,386,650, figures 3 to 8, step by step, on real devices.

A figure's workflow is a function; each of its steps is one test or more, named by the numeral that the patent gives it.
A "VM" of the patent is whoever owns a device, here a container as well; its "hypervisor" is vtpmd with its workers.
"""
import json
import os
import struct
import subprocess

from container import Container
from harness import BUILD
from identity import certified
from live import Measurer, PolicyHolder
from tpm_commands import (ENDORSEMENT, KEYED_HASH, NOTHING, NULL, OWNER, READ_ONLY, SHA256, SIGNING_KEY, Tpm, code_of,
                          command, create_primary, created, extend, flush, handle_in, property_of, random, sized)

# Every step that the figures have.
STEPS = {
    3: (302, 304, 306, 308, 310, 312, 314),
    4: (402, 404, 406, 408, 410, 412, 414),
    5: (502, 504, 506, 508, 510, 512, 514),
    6: (602, 604, 606, 608),
    7: (702, 704, 706, 708, 710),
    8: (802, 804, 806, 808, 810),
}
RECORD_MODE = {"read-only": 1, "read-write": 2}
PT_PERSISTENT, PT_NV_INDICES = 0x208, 0x202
USAGE, UNKNOWN, FAILED_PRECONDITION = 2, 3, 4  # exit statuses of vtpmctl
SEEDS = ("endorsement_seed", "storage_seed", "platform_seed")


class Figure:
    """Names the tests, and knows which steps have one."""

    def __init__(self, tap, number):
        self.tap, self.number, self.shown = tap, number, set()

    def step(self, number, passed, what, *why):
        self.shown.add(number)
        self.tap.ok(passed, f"figure {self.number}, step {number}: {what}", *why)


def has_identity(record, host, view):
    """Seeds of its own in the record, and in the TPM a certificate of this host; what is missing."""
    state = record["state"]
    seeds = state is not None and not state["blank"] and all(int(state[seed], 16) for seed in SEEDS)
    with Tpm(view["rm_device_path"]) as tpm:  # the other node may be in use
        certificate = certified(host, tpm)
    return [what for what, there in (("seeds", seeds), ("a certificate", certificate)) if not there]


def has_nothing(record, host, view):
    """Of an identity, in the record and in the TPM; what there is."""
    with host.open(view) as tpm:
        held = {"persistent keys": property_of(tpm.ask, PT_PERSISTENT), "NV indices": property_of(tpm.ask, PT_NV_INDICES)}
    return {name: value for name, value in {**held, "state": record["state"], "key": record["wrapped_key"]}.items() if value}


def observe(host, *words):
    """The same request by the socket of those who may look."""
    return subprocess.run([os.path.join(BUILD, "vtpmctl/vtpmctl"), "--socket", os.path.join(host.run, "observe.sock"),
                           "-o", "json", *words], capture_output=True, text=True, timeout=300)


def figure_3(tap, host):
    """A new VM with a device: `vtpmctl create --mode`."""
    figure = Figure(tap, 3)
    other = host.ctl("create", "other", "--mode", "read-mostly", check=False)
    figure.step(302, other.returncode == USAGE, "a request says which of the two modes, and nothing else", other.stderr)
    sent = observe(host, "create", "web", "--mode", "read-write")
    web = host.create("web", "--owner", "VM web", "--for", "vm", "--mode", "read-write", start=False)
    figure.step(304, sent.returncode != 0 and [d["name"] for d in host.ctl("list")] == ["web"],
                "the host's vtpmd gets it, by the socket of those who may change devices", sent.stdout, sent.stderr)
    golden = host.create("golden", "--owner", "VM golden", "--mode", "read-only")
    started = host.ctl("start", "web")[0]
    with host.open(started) as tpm, host.open(golden) as other:
        answered = [one.code(random()) for one in (tpm, other)]
    figure.step(306, (started["owner"], started["kind"], golden["kind"]) == ("VM web", "vm", "container") and answered == [0, 0],
                "a device is there, as it was asked for, and answers", started, golden, answered)
    figure.step(308, (web["mode"], golden["mode"]) == ("read-write", "read-only"), "it has the mode that was asked for")
    records = host.records()
    figure.step(310, records["web"]["mode"] == RECORD_MODE["read-write"], "the record's flag says read-write", records["web"])
    missing = has_identity(records["web"], host, started)
    figure.step(312, not web["has_identity"] and not missing,
                "an identity is made and stored before it first runs: seeds and a certificate that verifies", missing)
    found = has_nothing(records["golden"], host, golden)
    figure.step(314, records["golden"]["mode"] == RECORD_MODE["read-only"] and not found,
                "the record's flag says read-only, and no identity is made or stored", found)
    return figure


def figure_4(tap, host):
    """New VMs from one that is read-only, and from a template: `vtpmctl clone`, `vtpmctl create --from`."""
    figure = Figure(tap, 4)
    host.ctl("template", "create", "cast", "--owner", "VMs of a kind", "--park-after", "10m")
    of_web = host.ctl("create", "of-web", "--from", "web", check=False)
    figure.step(402, of_web.returncode == FAILED_PRECONDITION, "a request names a template or a read-only device, and no other",
                of_web.returncode, of_web.stderr)
    sent = observe(host, "clone", "golden", "of-an-observer")
    source = host.ctl("show", "golden")
    resting = host.ctl("clone", "golden", "resting", "--mode", "read-only")
    heir = host.ctl("clone", "golden", "heir")
    cast = host.ctl("create", "from-cast", "--from", "cast", "--mode", "read-write", "--start")
    after = {device["name"]: device for device in host.ctl("list")}
    figure.step(404, sent.returncode != 0 and "of-an-observer" not in after,
                "the host's vtpmd gets it, by the socket of those who may change devices", sent.stderr)
    alike = [(view["owner"], view["kind"], view["park_after_s"]) for view in (source, resting, heir)]
    figure.step(406, alike[0] == alike[1] == alike[2] and (cast["owner"], cast["park_after_s"]) == ("VMs of a kind", 600) and
                after["golden"]["worker_pid"] == source["worker_pid"],
                "the new devices are as their source, which is in use and goes on", alike, cast)
    figure.step(408, (resting["mode"], heir["mode"], cast["mode"]) == ("read-only", "read-write", "read-write"),
                "they have the mode that was asked for; that is read-write, if none was", resting, heir, cast)
    records = host.records()
    flags = {name: records[name]["mode"] for name in ("golden", "resting", "heir", "from-cast")}
    figure.step(410, (flags["heir"], flags["from-cast"], flags["golden"]) == (2, 2, 1),
                "the flag of one that is to be read-write says so, its source's does not", flags)
    missing = has_identity(records["from-cast"], host, cast)
    figure.step(412, not missing, "it gets a new identity", missing)
    figure.step(414, flags["resting"] == 1 and records["resting"]["state"] is None and not records["resting"]["wrapped_key"],
                "the flag of one that is to be read-only stays, and there is no identity", flags)
    return figure


def figure_5(tap, host):
    """A device for a container that exists and runs: `vtpmctl create --owner` and `attach`."""
    figure = Figure(tap, 5)
    with Container() as writer, Container(user_namespace=True) as reader:
        before = [container.tool("getrandom", "--hex", "4").returncode for container in (writer, reader)]
        full = host.create("full", "--owner", "container writer", "--mode", "read-write")
        empty = host.create("empty", "--owner", "container reader", "--mode", "read-only")
        records = host.records()
        figure.step(502, (full["owner"], empty["owner"]) == ("container writer", "container reader"),
                    "a request names the container that is to have a device, and the mode", full, empty)
        seen = json.loads(observe(host, "list").stdout)
        figure.step(504, {"full", "empty"} <= {device["name"] for device in seen}, "the container's host gets it", seen)
        given = [host.ctl("attach", view["name"], "--pid", str(container.pid), check=False)
                 for view, container in ((full, writer), (empty, reader))]
        after = [container.tool("getrandom", "--hex", "4").returncode for container in (writer, reader)]
        figure.step(506, 0 not in before and [done.returncode for done in given] == after == [0, 0],
                    "a container that runs has a TPM which it did not have", before, given, after)
        figure.step(508, (full["mode"], empty["mode"]) == ("read-write", "read-only"), "of the mode that was asked for")
        figure.step(510, records["full"]["mode"] == RECORD_MODE["read-write"], "the record's flag says read-write")
        key = ("createprimary", "-Q", "-C", "e", "-G", "ecc", "-c", "/dev/null")
        made, missing = writer.tool(*key), has_identity(records["full"], host, full)
        figure.step(512, made.returncode == 0 and not missing, "an identity is made and stored, and the container makes keys",
                    missing, made.stderr)
        refused, found = reader.tool(*key), has_nothing(records["empty"], host, empty)
        figure.step(514, records["empty"]["mode"] == RECORD_MODE["read-only"] and not found and "0x156" in refused.stderr,
                    "the record's flag says read-only, there is no identity, and the container makes no key", found, refused.stderr)
    return figure


def figure_6(tap, host):
    """A read-only device becomes read-write: `vtpmctl set-mode`. golden is in use, empty is parked, resting is off."""
    figure = Figure(tap, 6)
    sent = observe(host, "set-mode", "golden", "read-write")
    back = host.ctl("set-mode", "web", "read-only", check=False)
    before = {device["name"]: device for device in host.ctl("list")}
    figure.step(602, back.returncode == FAILED_PRECONDITION and before["web"]["mode"] == "read-write",
                "a request is for read-write; there is no way back", back.returncode, back.stderr)
    figure.step(604, sent.returncode != 0 and before["golden"]["mode"] == "read-only",
                "the device's host gets it, by the socket of those who may change devices", sent.stderr)
    measurer, holder = Measurer(before["golden"]["device_path"]), PolicyHolder(before["golden"]["rm_device_path"])
    sleeper, its_holder = Measurer(before["empty"]["device_path"]), PolicyHolder(before["empty"]["rm_device_path"])
    clients = (measurer, holder, sleeper, its_holder)
    refused = [client.code_for_key() for client in clients]
    host.ctl("park", "empty")
    for client in (measurer, holder):
        client.start()
    measurer.does(), holder.does()
    after = {name: host.ctl("set-mode", name, "read-write") for name in ("golden", "empty", "resting")}
    went_on = measurer.does() and holder.does()
    measurer.end(), holder.end()
    records = host.records()
    flags = [records[name]["mode"] for name in after]
    figure.step(606, flags == [RECORD_MODE["read-write"]] * 3 and all(view["mode"] == "read-write" for view in after.values()),
                "the record's flag says read-write: of a device in use, of one that is parked and of one that is off", flags)
    figure.step(608, not has_identity(records["golden"], host, after["golden"]) and
                after["golden"]["worker_pid"] == before["golden"]["worker_pid"],
                "the one in use has an identity, and the process that it had", after["golden"])
    figure.step(608, went_on, f"its clients see no error in {measurer.done} extends and {holder.done} looks at policy sessions",
                measurer.error, holder.error)
    figure.step(608, measurer.exact(), "its PCR is the chain of the extends")
    made = [client.code_for_key() for client in clients]
    figure.step(608, (refused, made) == ([READ_ONLY] * 4, [0] * 4),
                "a key that was refused is made through the same open file, on each node of both", refused, made)
    holder.narrow()
    figure.step(608, holder.unseals(), "policy sessions from before open what is sealed to their policy")
    its_holder.step()
    figure.step(608, not has_identity(records["empty"], host, after["empty"]) and sleeper.exact(),
                "the one that was parked has an identity, its PCR and its sessions", after["empty"])
    started = host.ctl("start", "resting")[0]
    figure.step(608, after["resting"]["state"] == "off" and not has_identity(records["resting"], host, started),
                "the one that was off stayed so, and has an identity when it is powered on", after["resting"])
    seeds = [records[name]["state"][seed] for name in ("web", *after) for seed in SEEDS]
    figure.step(608, len(set(seeds)) == len(seeds), "no two devices have a seed in common")
    for client in clients:
        client.tpm.close()
    return figure


def figure_7(tap, host):
    """Power-on: `vtpmctl start`. web has an identity, heir has none yet, plain is read-only."""
    figure = Figure(tap, 7)
    nobody = host.ctl("start", "nobody", check=False)
    plain = host.create("plain", "--mode", "read-only")
    before = host.records()
    host.ctl("stop", "web", "plain", "--release")
    views = {view["name"]: view for view in host.ctl("start", "web", "heir", "plain")}
    records = host.records()
    figure.step(702, nobody.returncode == UNKNOWN and all(view["state"] == "on" for view in views.values()),
                "who is powered on gets the device that there is for him", nobody.stderr, views)
    with host.open(views["web"]) as web, host.open(views["plain"]) as read_only:
        figure.step(704, (web.code(create_primary(OWNER)), read_only.code(create_primary(OWNER))) == (0, READ_ONLY),
                    "its mode is that of the record's flag")
    seeds = [{seed: record["web"]["state"][seed] for seed in SEEDS} for record in (before, records)]
    figure.step(706, seeds[0] == seeds[1] and not has_identity(records["web"], host, views["web"]),
                "read-write with a valid identity: it is the one that it was")
    missing = has_identity(records["heir"], host, views["heir"])
    figure.step(708, before["heir"]["state"] is None and not missing,
                "read-write without one: it is made and stored", missing)
    found = has_nothing(records["plain"], host, views["plain"])
    figure.step(710, not found and views["plain"]["generation"] == plain["generation"],
                "read-only: nothing is made or stored, at the second power-on either", found)
    return figure


def sign(key):
    return command(0x15d, [key], sized(bytes(32)) + struct.pack(">HHIH", NOTHING, 0x8024, NULL, 0), True)


KEY = 0x81000001
SEALED = struct.pack(">HHI", KEYED_HASH, SHA256, 0x52) + sized(b"") + struct.pack(">H", NOTHING) + sized(b"")
# Of each kind that paragraph 48 names.
KEY_MANAGEMENT = {
    "generates a primary key": create_primary(OWNER),
    "generates a key": command(0x153, [KEY], created(SIGNING_KEY), True),
    "stores a key": command(0x120, [OWNER, KEY], struct.pack(">I", 0x81000010), True),
    "loads a key": command(0x157, [KEY], sized(b"") * 2, True),
    "applies a key": sign(KEY),
    "seals": command(0x153, [KEY], created(SEALED, b"secret"), True),
    "unseals": command(0x15e, [KEY], b"", True),
}
DENIAL = bytes.fromhex("80010000000a00000156")


def figure_8(tap, host):
    """A command of a client: the gate. web is read-write, plain read-only; through both nodes of each."""
    figure = Figure(tap, 8)
    web, plain = host.ctl("show", "web"), host.ctl("show", "plain")
    for path, node in (("device_path", "/dev/tpmN"), ("rm_device_path", "/dev/tpmrmN")):
        with Tpm(plain[path]) as closed, Tpm(web[path]) as whole:
            figure.step(802, (closed.code(random()), whole.code(random())) == (0, 0), f"a client's command comes by {node}")
            key = whole.reply(create_primary(ENDORSEMENT, SIGNING_KEY))
            figure.step(804, (closed.code(create_primary(ENDORSEMENT, SIGNING_KEY)), code_of(key)) == (READ_ONLY, 0),
                        "the same command gets the answer of the device's mode")
            key = handle_in(key[10:])
            figure.step(806, whole.code(sign(key)) == 0, "read-write: it is executed")
            whole.ask(flush(key))
            pcr = closed.pcr(16)
            closed.ask(extend(16, bytes(32)))
            figure.step(808, closed.pcr(16) != pcr, "read-only, and it is about no key: it is executed")
            for what, frame in KEY_MANAGEMENT.items():
                reply = closed.reply(frame)
                figure.step(810, reply == DENIAL, f"read-only, and it {what}: it is not executed, the error says so", reply)
    told = {one["command"]: one["reason"] for one in host.ctl("denied", "plain", "--limit", "100")}
    figure.step(810, set(told) == {"TPM2_CreatePrimary", "TPM2_Create", "TPM2_EvictControl", "TPM2_Load", "TPM2_Sign", "TPM2_Unseal"}
                and all(told.values()), "the host knows of each, with a reason", told)
    return figure


FIGURES = (figure_3, figure_4, figure_5, figure_6, figure_7, figure_8)


def figures(tap, host):
    shown = {figure.number: tuple(sorted(figure.shown)) for figure in (show(tap, host) for show in FIGURES)}
    tap.equal(shown, STEPS, "each step of the figures has its test")
