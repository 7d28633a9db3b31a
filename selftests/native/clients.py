# SPDX-License-Identifier: Apache-2.0
"""Clients of devices on sockets that know what their TPM has to hold: each reply was heard, or was not."""
import hashlib
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from tpm_commands import Tpm, define_counter, extend, increment, read_counter  # noqa: E402

COUNTER, PCR = 0x01500010, 10


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
        return self.tpm.pcr(PCR) == self.chain


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
    with Tpm(node) as tpm:
        return tpm.pcr(PCR)
