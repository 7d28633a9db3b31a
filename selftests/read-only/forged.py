# SPDX-License-Identifier: Apache-2.0
"""What a stranger can make for a read-only device, knowing all of its state: none of it is ever taken.

The state that read-only devices begin from is public: zero seeds, zero proofs. So anybody can run a TPM on it without
a gate (blank-tpm), have it make keys, and save or sign things with proofs that a read-only device shares. Each of these
forgeries is taken by another TPM of that kind, or this would prove nothing; and is refused by a device before it is
switched to read-write, and after.
"""
import hashlib
import hmac
import os
import struct
import subprocess
from collections import namedtuple

from harness import BUILD
from tpm_commands import (ATTESTATION_KEY, ENDORSEMENT, NOTHING, NULL, OWNER, PLATFORM, READ_ONLY, SHA256, SIGNING_KEY,
                          STORAGE_KEY, Tpm, code_of, command, create_primary, created, extend, flush, handle_in,
                          load_context, read_public, save_context, sized, start_session, taken)

RETRY = 0x922  # TPM_RC_RETRY
INTEGRITY = 0x1df  # TPM_RC_INTEGRITY of the first parameter: a context, a private area
VALUE_OF_TICKET = 0x4c4  # TPM_RC_VALUE of the fourth: what TPM2_PolicyAuthorize says of its ticket


def ticket_is_wrong(parameter):
    """TPM_RC_TICKET."""
    return 0x0e0 | parameter << 8


HIERARCHIES = {"owner": OWNER, "endorsement": ENDORSEMENT, "platform": PLATFORM}


class BlankTpm(Tpm):
    """The stranger's: the public state, no gate."""

    def __init__(self, *options):
        self.process = subprocess.Popen([os.path.join(BUILD, "selftests/read-only/blank-tpm"), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.send, self.receive = self.process.stdin.write, self.process.stdout.read

    def reply(self, frame):
        """The first command that a dictionary attack could use is to be sent again."""
        reply = super().reply(frame)
        return super().reply(frame) if code_of(reply) == RETRY else reply

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Forgery(namedtuple("Forgery", "name before after use")):
    """`use(tpm, in_use)`: the response code of the command that takes it; what the command needs beside it is made with
    keys of the TPM itself, if it is in use, or else stands for them. `before`: the code in read-only mode."""


def scalar(*fields):
    return struct.pack(">" + "I" * len(fields), *fields)


def primary(tpm, hierarchy, public, in_use=True):
    """A key of the TPM's own. In read-only mode there is none: the gate looks at no object that is not there."""
    return handle_in(tpm.ask(create_primary(hierarchy, public))) if in_use else 0x80000000


def name_of(tpm, key):
    return taken(tpm.ask(read_public(key)), 1)[0]


def load_and_flush(context):
    def use(tpm, _):
        reply = tpm.reply(load_context(context))
        code = code_of(reply)
        if not code:
            tpm.ask(flush(handle_in(reply[10:])))
        return code
    return use


def key_contexts(blank):
    """A key that the stranger made in each hierarchy and knows, ready to be certified by genuine ones."""
    for name, hierarchy in HIERARCHIES.items():
        key = primary(blank, hierarchy, SIGNING_KEY)
        context = blank.ask(save_context(key))
        blank.ask(flush(key))
        yield Forgery(f"a saved key of the {name} hierarchy", READ_ONLY, INTEGRITY, load_and_flush(context))


def created_key(blank):
    """A key whose parent is the storage root key of the public state."""
    parent = primary(blank, OWNER, STORAGE_KEY)
    private, public, _ = taken(blank.ask(command(0x153, [parent], created(SIGNING_KEY), True))[4:], 0, 1)
    blank.ask(flush(parent))

    def use(tpm, in_use):
        own = primary(tpm, OWNER, STORAGE_KEY, in_use)
        reply = tpm.reply(command(0x157, [own], sized(private) + sized(public), True))
        code = code_of(reply)
        for handle in ([own] if in_use else []) + ([handle_in(reply[10:])] if not code else []):
            tpm.ask(flush(handle))
        return code

    yield Forgery("a key below the storage root key", READ_ONLY, INTEGRITY, use)


def hash_ticket(_):
    """Says of the digest of a forged attestation that its text is none: a restricted key would sign it."""
    attestation = b"\xffTCG\x80\x18" + bytes(32)
    digest = hashlib.sha256(attestation).digest()
    claim = struct.pack(">H", 0x8024)
    proof = hmac.new(bytes(64), claim + struct.pack(">H", SHA256) + digest, hashlib.sha512).digest()
    ticket = claim + scalar(OWNER) + sized(proof)

    def use(tpm, in_use):
        key = primary(tpm, OWNER, ATTESTATION_KEY, in_use)
        code = tpm.code(command(0x15d, [key], sized(digest) + struct.pack(">H", NOTHING) + ticket, True))
        if in_use:
            tpm.ask(flush(key))
        return code

    yield Forgery("a ticket for a digest that a restricted key shall sign", READ_ONLY, ticket_is_wrong(3), use)


def creation_ticket(blank):
    """Says of a key how it was created."""
    def forge(name, creation_hash):
        claim = struct.pack(">H", 0x8021)
        proof = hmac.new(bytes(64), claim + name + creation_hash, hashlib.sha512).digest()
        return claim + scalar(OWNER) + sized(proof)

    reply = blank.ask(create_primary(OWNER, SIGNING_KEY))
    key, _, creation_hash, rest = handle_in(reply), *taken(reply[8:], 1, 2)
    genuine = rest[:6] + sized(taken(rest[6:], 0)[0])
    if forge(name_of(blank, key), creation_hash) != genuine:
        raise OSError("a ticket is made in another way than this test makes it")
    blank.ask(flush(key))

    def use(tpm, in_use):
        own = primary(tpm, OWNER, SIGNING_KEY, in_use)
        ticket = forge(name_of(tpm, own) if in_use else b"", creation_hash)
        code = tpm.code(command(0x14a, [NULL, own], sized(b"") + sized(creation_hash) + struct.pack(">H", NOTHING) + ticket,
                                True))
        if in_use:
            tpm.ask(flush(own))
        return code

    yield Forgery("a ticket for the creation of a key", READ_ONLY, ticket_is_wrong(4), use)


def in_policy_session(tpm, build, in_use=True):
    session = handle_in(tpm.ask(start_session(bytes(16), 1)))
    code = tpm.code(build(session))
    tpm.ask(flush(session))
    return code


def verified_ticket(blank):
    """Says that a policy was signed by a key which the stranger names."""
    key = primary(blank, OWNER, SIGNING_KEY)
    name = name_of(blank, key)
    digest = sized(hashlib.sha256(bytes(32)).digest())
    signature = blank.ask(command(0x15d, [key], digest + struct.pack(">H", NOTHING) + struct.pack(
        ">HIH", 0x8024, NULL, 0), True))[4:-5]  # without the session's part
    ticket = blank.ask(command(0x177, [key], digest + signature))
    blank.ask(flush(key))

    def use(tpm, _):
        return in_policy_session(tpm, lambda session: command(
            0x16a, [session], sized(bytes(32)) + sized(b"") + sized(name) + ticket))

    yield Forgery("a ticket for an authorized policy", READ_ONLY, VALUE_OF_TICKET, use)


def policy_ticket(blank):
    """Says that the owner's authorization was given, for a year."""
    def give(session):
        return command(0x151, [OWNER, session], sized(b"") * 3 + struct.pack(">i", -3600 * 24 * 365), True)
    session = handle_in(blank.ask(start_session(bytes(16), 1)))
    timeout, ticket = taken(blank.ask(give(session))[4:-5], 0)
    blank.ask(flush(session))

    def use(tpm, _):
        return in_policy_session(tpm, lambda session: command(
            0x172, [session], sized(timeout) + sized(b"") * 2 + sized(scalar(OWNER)) + ticket))

    yield Forgery("a ticket for an authorization by the owner", READ_ONLY, ticket_is_wrong(5), use)


def session_contexts(public_null):
    """A policy session that has been told what it never saw, and a key of the null hierarchy. Only the null proof keeps
    them out, which a device draws at each reset; here the stranger knows one of zeros."""
    session = handle_in(public_null.ask(start_session(bytes(16), 1)))
    public_null.ask(extend(10, bytes(32)))
    public_null.ask(command(0x17f, [session], sized(b"") + struct.pack(">IHB", 1, SHA256, 3) + b"\0\4\0"))
    yield Forgery("a saved policy session", INTEGRITY, INTEGRITY, load_and_flush(public_null.ask(save_context(session))))
    key = primary(public_null, NULL, SIGNING_KEY)
    context = public_null.ask(save_context(key))
    public_null.ask(flush(key))
    yield Forgery("a saved key of the null hierarchy", INTEGRITY, INTEGRITY, load_and_flush(context))


def save_one_session(tpm):
    """So that the TPM waits for a session of this number, as one of the stranger's is."""
    tpm.ask(save_context(handle_in(tpm.ask(start_session(bytes(16), 1)))))


FORGERS = (key_contexts, created_key, hash_ticket, creation_ticket, verified_ticket, policy_ticket)


def forged(tap, host):
    with BlankTpm() as blank, BlankTpm() as other, BlankTpm("--public-null") as public_null, \
            BlankTpm("--public-null") as other_null:
        save_one_session(other_null)
        known = [(forgery, other) for forger in FORGERS for forgery in forger(blank)]
        known += [(forgery, other_null) for forgery in session_contexts(public_null)]
        useful = [forgery.name for forgery, victim in known if forgery.use(victim, True) == 0]
    tap.equal(useful, [forgery.name for forgery, _ in known], "control: a TPM whose proofs are zero takes all that is forged")
    view = host.create("forged", "--mode", "read-only")
    with host.open(view) as tpm:
        save_one_session(tpm)
        for forgery, _ in known:
            tap.equal(f"{forgery.use(tpm, False):#x}", f"{forgery.before:#x}",
                      f"{forgery.name}: refused in read-only mode")
        host.ctl("set-mode", "forged", "read-write")
        for forgery, _ in known:
            tap.equal(f"{forgery.use(tpm, True):#x}", f"{forgery.after:#x}",
                      f"{forgery.name}: refused after the switch")
    host.ctl("delete", "forged", "--force", "--release")
