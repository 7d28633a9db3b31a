# SPDX-License-Identifier: Apache-2.0
"""What a TPM draws at random is drawn once, whatever was copied: of devices with one past, no value comes twice."""
import os
import struct

from tpm_commands import OWNER, SHA256, SIGNING_KEY, Tpm, command, created, flush, handle_in, p256, random, sized
from tpm_commands import authorization, start_session, taken

ROOT_KEY, ECDAA = 0x81000001, 0x1a
# Its scheme has a count, of TPMS_SCHEME_ECDAA, behind the hash.
ANONYMOUS_KEY = p256(0x00040072, struct.pack(">HHH", ECDAA, SHA256, 0))
NO_POINT = sized(sized(b"") + sized(b""))


def session_nonce(tpm):
    reply = tpm.ask(start_session(os.urandom(16), 0))
    tpm.ask(flush(handle_in(reply)))
    return taken(reply[4:], 0)[0]


def new_key(tpm):
    """The public area of a key below the storage root key."""
    reply = tpm.ask(command(0x153, [ROOT_KEY], created(SIGNING_KEY), True))
    return taken(reply[4:], 1)[0]


def commits(tpm, password, count):
    """TPM2_Commit by a key that all have: its point E is [r]G, of an r that must be nobody else's."""
    made = tpm.ask(command(0x131, [OWNER], created(ANONYMOUS_KEY), [authorization(secret=password)]))
    key, points = handle_in(made), []
    for _ in range(count):
        reply = tpm.ask(command(0x18b, [key], NO_POINT + sized(b"") + sized(b""), True))
        points.append(taken(reply[4:], 2)[0])
    tpm.ask(flush(key))
    return taken(made[8:], 0)[0], points


def fresh_values(tap, views, what, numbers, password=b""):
    """`views`: devices that are on, of one storage hierarchy whose owner has the password."""
    drawn = {"random numbers": [], "session nonces": [], "keys made": [], "ECDAA commits": []}
    anonymous = set()
    for view in views:
        with Tpm(view["rm_device_path"] or view["socket_path"]) as tpm:
            drawn["random numbers"] += [tpm.ask(random()) for _ in range(numbers)]
            drawn["session nonces"] += [session_nonce(tpm) for _ in range(numbers // 10)]
            drawn["keys made"] += [new_key(tpm) for _ in range(max(numbers // 100, 3))]
            key, points = commits(tpm, password, max(numbers // 100, 3))
            drawn["ECDAA commits"] += points
            anonymous.add(key)
    tap.equal(len(anonymous), 1, f"{what}: all commit by the same key")
    for kind, values in drawn.items():
        tap.ok(all(values) and NO_POINT not in values and len(set(values)) == len(values),
               f"{what}: {len(values)} {kind}, no two alike")
