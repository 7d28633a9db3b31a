# SPDX-License-Identifier: Apache-2.0
"""What a client of a read-only device can do to it, and tries to: nothing of it is left in the identity that comes."""
import struct

from tpm_commands import (ENDORSEMENT, LOCKOUT, NOTHING, NULL, OWNER, PLATFORM, READ_ONLY, SHA256, authorization, command,
                          create_primary, flush, handle_in, property_of, sized)

PLATFORM_NV = 0x4000000d
SECRET = b"a client's"


def enable(hierarchy, on=False, secret=b""):
    return command(0x121, [PLATFORM], struct.pack(">IB", hierarchy, on), [authorization(secret=secret)])


def change_auth(hierarchy, secret=SECRET, old=b""):
    return command(0x129, [hierarchy], sized(secret), [authorization(secret=old)])


def reset_lockout(secret=b""):
    return command(0x139, [LOCKOUT], b"", [authorization(secret=secret)])


# On a device whose platform hierarchy is open. RAM alone is a client's to change (read-only-mode.rst).
TRIED = (
    ("switches the storage hierarchy off", enable(OWNER), 0),
    ("switches the endorsement hierarchy off", enable(ENDORSEMENT), 0),
    ("switches the platform's NV off", enable(PLATFORM_NV), 0),
    ("sets the platform's authorization", change_auth(PLATFORM), 0),
    ("sets the owner's authorization", change_auth(OWNER), READ_ONLY),
    ("sets the endorsement authorization", change_auth(ENDORSEMENT), READ_ONLY),
    ("sets the lockout authorization", change_auth(LOCKOUT), READ_ONLY),
    ("guesses the lockout authorization", reset_lockout(b"wrong"), READ_ONLY),
    ("guesses it again", command(0x126, [LOCKOUT], b"", [authorization(secret=b"wrong")]), READ_ONLY),
    ("guesses it for a policy", command(0x151, [LOCKOUT, 0x03000000], sized(b"") * 3 + bytes(4),
                                        [authorization(secret=b"wrong")]), READ_ONLY),
    ("binds a session to it", command(0x176, [NULL, LOCKOUT], sized(bytes(16)) + sized(b"") + struct.pack(
        ">BHH", 0, NOTHING, SHA256)), READ_ONLY),
    ("forbids nobody to guess", command(0x13a, [LOCKOUT], struct.pack(">III", 0xffffffff, 0, 0), True), READ_ONLY),
    ("sets a policy for the owner", command(0x12e, [OWNER], sized(bytes(32)) + struct.pack(">H", SHA256), True), READ_ONLY),
    ("forbids TPM2_Clear", command(0x127, [LOCKOUT], b"\1", True), READ_ONLY),
    ("sets the clock far ahead", command(0x128, [OWNER], b"\x10" + bytes(7), True), READ_ONLY),
)

# TPM_PT: Part 2, 6.13. What a factory-made device shows in each, a switched one shows too.
SETTINGS = {"permanent attributes": 0x200, "startup attributes": 0x201, "NV indices": 0x202, "persistent keys": 0x208,
            "set of algorithms": 0x20c, "counted for a lockout": 0x20e, "most that may be": 0x20f,
            "until one is forgotten": 0x210, "until a lockout ends": 0x211, "audited": 0x213}
ORDERLY = 1 << 31  # of the start-up attributes: how the power was cut last time


def settings(tpm):
    return {name: property_of(tpm.ask, number) & ~ORDERLY for name, number in SETTINGS.items()}


def makes_keys(tpm):
    for hierarchy in (OWNER, ENDORSEMENT):
        tpm.ask(flush(handle_in(tpm.ask(create_primary(hierarchy)))))


def abuse(tap, host):
    view = host.create("abused", "--mode", "read-only", "--for", "open")
    factory = host.create("factory-made", "--for", "open")
    with host.open(factory) as tpm:
        untouched = settings(tpm)
    with host.open(view) as tpm:
        for what, frame, code in TRIED:
            tap.equal(f"{tpm.code(frame):#x}", f"{code:#x}", f"a client of a read-only device {what}")
        host.ctl("set-mode", "abused", "read-write")
        tap.equal(settings(tpm), untouched, "after the switch, all settings are as a factory-made device has them")
        makes_keys(tpm)
        tap.equal(tpm.code(reset_lockout()), 0, "its hierarchies make keys, its lockout authorization is empty")
        tap.equal(tpm.code(change_auth(PLATFORM, b"")), 0, "and so is the platform's")
    host.ctl("delete", "abused", "factory-made", "--force", "--release")


def closed_platform(tap, host):
    """A container's device: the platform hierarchy is closed in either mode, whatever a client says first."""
    view = host.create("contained", "--mode", "read-only")
    for mode in ("read-only", "read-write"):
        if mode == "read-write":
            host.ctl("set-mode", "contained", mode)
        with host.open(view) as tpm:
            done = [what for what, frame in (
                ("HierarchyControl", enable(OWNER)), ("HierarchyChangeAuth", change_auth(PLATFORM)),
                ("ChangeEPS", command(0x124, [PLATFORM], b"", True)), ("Clear", command(0x126, [PLATFORM], b"", True)))
                if tpm.code(frame) == 0]
            tap.equal(done, [], f"{mode}, for a container: nothing can be done with the platform's authorization")
    host.ctl("delete", "contained", "--force", "--release")
