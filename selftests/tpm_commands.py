# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 commands as bytes, for tests that talk to a device without tpm2-tools.

What sends a command is the caller's: `ask` below takes a frame, and gives the reply after its header or raises
OSError if it is not a success.
"""
import hashlib
import hmac
import os
import struct

PASSWORD = bytes.fromhex("00000009400000090000000000")  # one empty password authorization
OWNER, NULL = 0x40000001, 0x40000007
SHA256, ECC = 0xb, 0x23


def command(code, handles=(), parameters=b"", authorized=False):
    body = b"".join(struct.pack(">I", h) for h in handles) + (PASSWORD if authorized else b"") + parameters
    return struct.pack(">HII", 0x8002 if authorized else 0x8001, 10 + len(body), code) + body


def sized(data):
    return struct.pack(">H", len(data)) + data


def success(frame, reply):
    """The reply after its header."""
    code = struct.unpack(">I", reply[6:10])[0]
    if code:
        raise OSError(f"command {frame[6:10].hex()} got {code:#x}")
    return reply[10:]


def digests(digest):
    """TPML_DIGEST_VALUES of one."""
    return struct.pack(">IH", 1, SHA256) + digest


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


def make_signing_key(ask):
    """A P-256 key of the owner hierarchy, loaded; its handle."""
    template = struct.pack(">HHI", ECC, SHA256, 0x00040072) + sized(b"") + struct.pack(
        ">HHHHH", 0x10, 0x18, SHA256, 3, 0x10) + sized(b"") + sized(b"")
    reply = ask(command(0x131, [OWNER], sized(b"\0\0\0\0") + sized(template) + sized(b"") +
                        struct.pack(">I", 0), True))
    return struct.unpack(">I", reply[:4])[0]


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
