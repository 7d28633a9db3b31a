# SPDX-License-Identifier: Apache-2.0
"""Clients that work while their device becomes read-write, and know what their TPM must hold."""
import hashlib
import struct
import threading

from harness import until
from tpm_commands import (KEYED_HASH, NOTHING, OWNER, SHA256, Tpm, authorization, code_of, command, create_primary,
                          created, extend, flush, handle_in, sized, start_session)

MEASURED, POLICY_PCR = 16, 7  # an extend of PCR 16 does not end what sessions know of other PCRs
UNSEAL = 0x15e
SECRET = b"the launch code"


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def one_pcr(number):
    return struct.pack(">IHB", 1, SHA256, 3) + (1 << number).to_bytes(3, "little")


class Worker(threading.Thread):
    """Does one thing through one open file without a pause, until it is told to end; an error ends it."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.tpm, self.done, self.error, self.enough = Tpm(node), 0, None, False

    def run(self):
        try:
            while not self.enough:
                self.step()
                self.done += 1
        except OSError as error:
            self.error = error

    def does(self, more=5):
        """Waits for so many steps."""
        wanted = self.done + more
        return until(lambda: self.done >= wanted or self.error, 60) and not self.error

    def end(self):
        self.enough = True
        self.join(60)

    def code_for_key(self):
        """What a request for a key gets."""
        reply = self.tpm.reply(create_primary(OWNER))
        if not code_of(reply):
            self.tpm.ask(flush(handle_in(reply[10:])))
        return code_of(reply)


class Measurer(Worker):
    """Extends a PCR."""

    def __init__(self, node):
        super().__init__(node)
        self.chain = self.tpm.pcr(MEASURED)

    def step(self):
        digest = sha256(str(self.done).encode())
        self.tpm.ask(extend(MEASURED, digest))
        self.chain = sha256(self.chain, digest)

    def exact(self):
        return self.tpm.pcr(MEASURED) == self.chain


class PolicyHolder(Worker):
    """Holds policy sessions of /dev/tpmrmN, whose resource manager saves and loads them around every command."""

    SESSIONS = 3  # as many as the kernel keeps for one open file

    def __init__(self, node):
        super().__init__(node)
        self.sessions = [handle_in(self.tpm.ask(start_session(bytes(16), 1))) for _ in range(self.SESSIONS)]
        value = self.tpm.pcr(POLICY_PCR)
        for session in self.sessions:
            self.tpm.ask(command(0x17f, [session], sized(b"") + one_pcr(POLICY_PCR)))
        self.digest = sha256(bytes(32), struct.pack(">I", 0x17f), one_pcr(POLICY_PCR), sha256(value))

    def step(self):
        """Looks whether a session's policy is what it has been told."""
        if self.tpm.ask(command(0x189, [self.sessions[self.done % self.SESSIONS]])) != sized(self.digest):
            raise OSError("a session's policy is another one")

    def narrow(self):
        """Every session is told that it is for TPM2_Unseal."""
        for session in self.sessions:
            self.tpm.ask(command(0x16c, [session], struct.pack(">I", UNSEAL)))
        self.digest = sha256(self.digest, struct.pack(">II", 0x16c, UNSEAL))

    def unseals(self):
        """Seals a secret to the policy that the sessions have come to; every one of them must open it."""
        public = struct.pack(">HHI", KEYED_HASH, SHA256, 0x12) + sized(self.digest) + struct.pack(">H", NOTHING) + sized(b"")
        parent = handle_in(self.tpm.ask(create_primary(OWNER)))
        areas = self.tpm.ask(command(0x153, [parent], created(public, SECRET), True))[4:]
        private = 2 + int.from_bytes(areas[:2], "big")
        both = private + 2 + int.from_bytes(areas[private:private + 2], "big")
        sealed = handle_in(self.tpm.ask(command(0x157, [parent], areas[:both], True)))
        got = [self.tpm.ask(command(UNSEAL, [sealed], b"", [authorization(session, attributes=1)]))[4:]
               for session in self.sessions]
        for handle in (sealed, parent):
            self.tpm.ask(flush(handle))
        return all(reply.startswith(sized(SECRET)) for reply in got)
