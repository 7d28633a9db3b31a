# SPDX-License-Identifier: Apache-2.0
"""Clients of nodes and sockets that know what their TPM must hold, whatever is killed below them."""
import hashlib
import os
import struct
import threading
import time

from tpm_commands import (NULL, Session, Tpm, command, define_counter, extend, increment, make_signing_key,
                          read_counter, read_public, sized, start_session)

COUNTER, PCR = 0x01500010, 10


class Client(threading.Thread):
    """Works on one device, through one open file, until told to end; an error ends it."""

    def __init__(self, path, pause=0.002):
        super().__init__(daemon=True)
        self.tpm, self.pause, self.error, self.enough, self.done = Tpm(path), pause, None, False, 0

    def run(self):
        try:
            while not self.enough:
                self.step()
                self.done += 1
                time.sleep(self.pause)
        except OSError as error:
            self.error = error

    def end(self):
        self.enough = True
        self.join(60)
        return self.error is None


class Extender(Client):
    pcr, chain = PCR, bytes(32)

    def step(self):
        digest = hashlib.sha256(str(self.done).encode()).digest()
        self.tpm.ask(extend(self.pcr, digest))
        self.chain = hashlib.sha256(self.chain + digest).digest()

    def exact(self):
        return self.tpm.pcr(self.pcr) == self.chain

    def claim(self):
        return f"PCR {self.pcr} is the chain of {self.done} extends"


class Counter(Client):
    """Increments an NV counter: a permanent write, through the store, each time."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.tpm.ask(define_counter(COUNTER))
        self.step()
        self.first = self.read()

    def step(self):
        self.tpm.ask(increment(COUNTER))

    def read(self):
        return read_counter(self.tpm.ask, COUNTER)

    def exact(self):
        return self.read() == self.first + self.done

    def claim(self):
        return f"NV counter counted {self.done} increments"


class Gambler(Client):
    """Random numbers and session nonces: no value comes twice, whatever was restarted."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen, self.twice = set(), 0

    def note(self, value):
        self.twice += value in self.seen
        self.seen.add(value)

    def step(self):
        self.note(self.tpm.ask(command(0x17b, [], struct.pack(">H", 16)))[2:])
        reply = self.tpm.ask(start_session(bytes(16), 1))
        self.note(reply[6:])
        self.tpm.ask(command(0x165, [], reply[:4]))

    def exact(self):
        return self.twice == 0 and len(self.seen) > 0

    def claim(self):
        return f"none of {len(self.seen)} random values came twice"


class KeyUser(Client):
    """A transient key that must outlive every worker: it signs nothing else and is never made again."""

    handle = None

    def step(self):
        if self.handle is None:
            self.handle = make_signing_key(self.tpm.ask)
            self.public = self.name()
        digest = hashlib.sha256(os.urandom(8)).digest()
        ticket = struct.pack(">HIH", 0x8024, NULL, 0)
        self.tpm.ask(command(0x15d, [self.handle], sized(digest) + struct.pack(">H", 0x10) + ticket, True))

    def name(self):
        return self.tpm.ask(read_public(self.handle))

    def exact(self):
        return self.name() == self.public

    def claim(self):
        return f"a transient key lived through {self.done} signatures"


class Talker(Extender):
    """Extends a PCR in one HMAC session: a command lost or done twice breaks the chain of its nonces."""

    pcr, session = 11, None

    def step(self):
        if self.session is None:
            self.session = Session(self.tpm.ask)
        digest = hashlib.sha256(b"talk" + str(self.done).encode()).digest()
        self.session.extend(self.pcr, digest)
        self.chain = hashlib.sha256(self.chain + digest).digest()


def pcr(node):
    with Tpm(node) as tpm:
        return tpm.pcr(PCR)
