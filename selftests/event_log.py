# SPDX-License-Identifier: Apache-2.0
"""Event logs of measured boot, replayed by tpm2_eventlog and compared with what tpm2_pcrread reads."""
import re
import subprocess
import sys

from harness import tpm2

BANKS = ("sha1", "sha256", "sha384", "sha512")


def table(text):
    """{bank: {pcr: value}} of what both tools print."""
    banks, bank = {}, None
    for line in text.splitlines():
        if head := re.fullmatch(r"\s+(sha\d+):", line):
            bank = banks.setdefault(head[1], {})
        elif (row := re.fullmatch(r"\s+(\d+)\s*: 0x([0-9A-Fa-f]+)", line)) and bank is not None:
            bank[int(row[1])] = row[2].lower()
    return banks


def replayed(path):
    done = subprocess.run(["tpm2_eventlog", path], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Bail out! tpm2_eventlog: {done.stderr}")
    return done.stdout, table(done.stdout[done.stdout.index("\npcrs:"):])


def agree(tap, node, path, pcrs, what):
    """Every PCR that the log speaks of, in every bank, is as the TPM has it."""
    text, log = replayed(path)
    tpm = table(tpm2("pcrread", "+".join(f"{bank}:{','.join(map(str, pcrs))}" for bank in BANKS), node=node).stdout)
    tap.ok(log == tpm and set(log) == set(BANKS) and all(sorted(log[b]) == pcrs for b in BANKS), what, log, tpm)
    return text, tpm
