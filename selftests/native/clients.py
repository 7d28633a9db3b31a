# SPDX-License-Identifier: Apache-2.0
"""Clients of devices on sockets that know what their TPM has to hold: each reply was heard, or was not."""
import hashlib
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tpm_commands import define_counter, extend, increment, read_counter, read_pcr, success  # noqa: E402

COUNTER, PCR = 0x01500010, 10


class Tpm:
    """A connection to a device's socket; every reply but success is an error."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)

    def ask(self, frame):
        self.socket.sendall(frame)
        reply = b""
        while len(reply) < 10 or len(reply) < struct.unpack(">I", reply[2:6])[0]:
            part = self.socket.recv(4096)
            if not part:
                raise OSError("the connection was cut")
            reply += part
        return success(frame, reply)

    def close(self):
        self.socket.close()

    def pcr(self):
        return self.ask(read_pcr(PCR))[-32:]


class Client(threading.Thread):
    """Works on one device, over one connection, until told to end."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.tpm, self.error, self.enough, self.done = Tpm(path), None, False, 0

    def run(self):
        try:
            while not self.enough:
                self.step()
                self.done += 1
                time.sleep(0.002)
        except OSError as error:
            self.error = error

    def end(self):
        self.enough = True
        self.join(60)
        return self.error is None


class Extender(Client):
    chain = bytes(32)

    def step(self):
        digest = hashlib.sha256(str(self.done).encode()).digest()
        self.tpm.ask(extend(PCR, digest))
        self.chain = hashlib.sha256(self.chain + digest).digest()

    def exact(self):
        return self.tpm.pcr() == self.chain


class Counter(Client):
    """Each increment is a permanent write: it waits for the store."""

    def __init__(self, path):
        super().__init__(path)
        self.tpm.ask(define_counter(COUNTER))
        self.step()
        self.first = self.read()

    def step(self):
        self.tpm.ask(increment(COUNTER))

    def read(self):
        return read_counter(self.tpm.ask, COUNTER)

    def exact(self):
        return self.read() == self.first + self.done


def pcr(node):
    tpm = Tpm(node)
    try:
        return tpm.pcr()
    finally:
        tpm.close()
