# SPDX-License-Identifier: Apache-2.0
"""What a device with an identity shows to whoever knows the root certificate of its host."""
import os
import struct
import subprocess

from tpm_commands import command, read_public, read_public_nv, taken

ENDORSEMENT_KEY, STORAGE_ROOT_KEY = 0x81010002, 0x81000001
CERTIFICATE, FAMILY = 0x01c0000a, 0x01c00100  # the key's; the one between that and the host's root
POINT = 2 * (2 + 32)  # a P-256 key's public area ends in it: two coordinates with their sizes


def public_of(tpm, handle):
    return taken(tpm.ask(read_public(handle)), 0)[0]


def certificate_at(tpm, index):
    size = struct.unpack(">H", taken(tpm.ask(read_public_nv(index)), 0)[0][-2:])[0]
    return taken(tpm.ask(command(0x14e, [index, index], struct.pack(">HH", size, 0), True))[4:], 0)[0]


def certified(host, tpm):
    """Whether its certificate is one of this host's, for the endorsement key that it has."""
    root, family = os.path.join(host.folder, "root.pem"), os.path.join(host.folder, "family.der")
    if not os.path.exists(root):
        host.ctl("ca", "export", root)
    with open(family, "wb") as file:
        file.write(certificate_at(tpm, FAMILY))
    certificate, key = certificate_at(tpm, CERTIFICATE), public_of(tpm, ENDORSEMENT_KEY)[-POINT:]
    done = subprocess.run(["openssl", "verify", "-CAfile", root, "-untrusted", family], input=certificate,
                          capture_output=True)
    return done.returncode == 0 and b"\4" + key[2:34] + key[36:] in certificate
