# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 commands as bytes, for tests that talk to a device without tpm2-tools.

What sends a command is the caller's: `ask` below takes a frame, and gives the reply after its header or raises
OSError if it is not a success. Tpm is a client that has one.
"""
import hashlib
import hmac
import os
import socket
import stat
import struct

OWNER, NULL, LOCKOUT, ENDORSEMENT, PLATFORM = 0x40000001, 0x40000007, 0x4000000a, 0x4000000b, 0x4000000c
SHA256, ECC, KEYED_HASH, NOTHING = 0xb, 0x23, 0x8, 0x10
READ_ONLY = 0x156  # TPM_RC_READ_ONLY


def sized(data):
    return struct.pack(">H", len(data)) + data


def taken(data, *which):
    """Of the sized buffers that data begins with, these; and what comes after the last one."""
    found = []
    for number in range(max(which) + 1):
        size = 2 + struct.unpack(">H", data[:2])[0]
        if number in which:
            found.append(data[2:size])
        data = data[size:]
    return *found, data


def authorization(handle=0x40000009, secret=b"", attributes=0):
    """A password, or a session that needs no HMAC."""
    return struct.pack(">IHB", handle, 0, attributes) + sized(secret)


def command(code, handles=(), parameters=b"", authorized=False):
    """`authorized`: by the empty password, or by a list of authorizations."""
    if authorized is True:
        authorized = [authorization()]
    area = b"".join(authorized or [])
    body = b"".join(struct.pack(">I", h) for h in handles) + (
        struct.pack(">I", len(area)) + area if area else b"") + parameters
    return struct.pack(">HII", 0x8002 if area else 0x8001, 10 + len(body), code) + body


def code_of(reply):
    return struct.unpack(">I", reply[6:10])[0]


def success(frame, reply):
    """The reply after its header."""
    if code_of(reply):
        raise OSError(f"command {frame[6:10].hex()} got {code_of(reply):#x}")
    return reply[10:]


class Tpm:
    """A client of a TPM: a node of the kernel, or a socket."""

    def __init__(self, node):
        if stat.S_ISSOCK(os.stat(node).st_mode):
            self.file = socket.socket(socket.AF_UNIX)
            self.file.settimeout(60)
            self.file.connect(node)
            self.send, self.receive = self.file.sendall, self.file.recv
        else:
            self.file = open(node, "r+b", buffering=0)
            self.send, self.receive = self.file.write, self.file.read

    def reply(self, frame):
        self.send(frame)
        reply = b""
        while len(reply) < 10 or len(reply) < struct.unpack(">I", reply[2:6])[0]:
            part = self.receive(4096)
            if not part:
                raise OSError("the connection was cut")
            reply += part
        return reply

    def ask(self, frame):
        return success(frame, self.reply(frame))

    def code(self, frame):
        return code_of(self.reply(frame))

    def pcr(self, index=10):
        return self.ask(read_pcr(index))[-32:]

    def close(self):
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def digests(digest):
    """TPML_DIGEST_VALUES of one."""
    return struct.pack(">IH", 1, SHA256) + digest


def startup(state=False):
    return command(0x144, [], struct.pack(">H", state))


def shutdown(state=False):
    return command(0x145, [], struct.pack(">H", state))


def extend(pcr, digest):
    return command(0x182, [pcr], digests(digest), True)


def read_pcr(pcr):
    """The value is the last 32 bytes of the reply."""
    bits = 1 << pcr
    selection = struct.pack(">IHB", 1, SHA256, 3) + bytes((bits & 255, bits >> 8 & 255, bits >> 16))
    return command(0x17e, [], selection)


def define_counter(index):
    """An NV counter that its own, empty authorization reads and increments."""
    public = struct.pack(">IHIHH", index, SHA256, 0x00040014 | 0x02000000, 0, 8)
    return command(0x12a, [OWNER], sized(b"") + sized(public), True)


def increment(index):
    return command(0x134, [index, index], b"", True)


def read_counter(ask, index):
    reply = ask(command(0x14e, [index, index], struct.pack(">HH", 8, 0), True))
    return struct.unpack(">Q", reply[6:14])[0]


def read_public_nv(index):
    return command(0x169, [index])


def read_public(handle):
    return command(0x173, [handle])


def p256(attributes, scheme):
    """The public area of a P-256 key; no policy, no symmetric algorithm but a storage key's, no KDF."""
    symmetric = struct.pack(">HHH", 0x6, 128, 0x43) if attributes & 0x20000 else struct.pack(">H", NOTHING)
    return struct.pack(">HHI", ECC, SHA256, attributes) + sized(b"") + symmetric + scheme + struct.pack(
        ">HH", 3, NOTHING) + sized(b"") + sized(b"")


ECDSA = struct.pack(">HH", 0x18, SHA256)
SIGNING_KEY = p256(0x00040072, ECDSA)
ATTESTATION_KEY = p256(0x00050072, ECDSA)  # restricted: signs no digest that may be of a forged attestation
STORAGE_KEY = p256(0x00030472, struct.pack(">H", NOTHING))


def created(public, secret=b""):
    """The parameters of TPM2_Create and of TPM2_CreatePrimary."""
    return sized(sized(b"") + sized(secret)) + sized(public) + sized(b"") + struct.pack(">I", 0)


def create_primary(hierarchy, public=STORAGE_KEY):
    return command(0x131, [hierarchy], created(public), True)


def handle_in(reply):
    return struct.unpack(">I", reply[:4])[0]


def make_signing_key(ask):
    """A P-256 key of the owner hierarchy, loaded; its handle."""
    return handle_in(ask(create_primary(OWNER, SIGNING_KEY)))


def flush(handle):
    return command(0x165, [], struct.pack(">I", handle))


def save_context(handle):
    return command(0x162, [handle])


def load_context(context):
    return command(0x161, [], context)


def random(count=32):
    return command(0x17b, [], struct.pack(">H", count))


def capability(which, first, count=1):
    return command(0x17a, [], struct.pack(">III", which, first, count))


def property_of(ask, name):
    """One of TPM_CAP_TPM_PROPERTIES."""
    return struct.unpack(">I", ask(capability(6, name))[-4:])[0]


def start_session(nonce, kind):
    """TPM_SE_HMAC (0) or TPM_SE_POLICY (1), neither salted nor bound."""
    return command(0x176, [NULL, NULL], sized(nonce) + sized(b"") + bytes([kind]) + struct.pack(">HH", 0x10, SHA256))


class Session:
    """An HMAC session, neither salted nor bound, so its key is empty. Its nonces roll with each command: one that is
    lost or done twice breaks the chain."""

    def __init__(self, ask):
        self.ask = ask
        reply = ask(start_session(os.urandom(16), 0))
        self.handle, self.nonce = reply[:4], reply[6:]

    def extend(self, pcr, digest):
        code, caller = 0x182, os.urandom(16)
        handle, parameters = struct.pack(">I", pcr), digests(digest)
        hashed = hashlib.sha256(struct.pack(">I", code) + handle + parameters).digest()
        area = self.handle + sized(caller) + b"\x01" + sized(self.mac(hashed + caller + self.nonce))
        body = handle + struct.pack(">I", len(area)) + area + parameters
        reply = self.ask(struct.pack(">HII", 0x8002, 10 + len(body), code) + body)
        size = struct.unpack(">H", reply[4:6])[0]
        self.nonce = reply[6:6 + size]
        hashed = hashlib.sha256(struct.pack(">II", 0, code)).digest()
        if reply[9 + size:] != self.mac(hashed + self.nonce + caller):
            raise OSError("the session's reply is not authentic")

    @staticmethod
    def mac(data):
        """The session goes on after each command: attribute continueSession."""
        return hmac.new(b"", data + b"\x01", hashlib.sha256).digest()
