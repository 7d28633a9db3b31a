# SPDX-License-Identifier: Apache-2.0
"""What a device with an identity shows to whoever knows the root certificate of its host."""
import os
import struct
import subprocess

from tpm_commands import command, read_public, read_public_nv, taken

ENDORSEMENT_KEY, STORAGE_ROOT_KEY, CERTIFICATE = 0x81010002, 0x81000001, 0x01c0000a
POINT = 2 * (2 + 32)  # a P-256 key's public area ends in it: two coordinates with their sizes


def public_of(tpm, handle):
    return taken(tpm.ask(read_public(handle)), 0)[0]


def certificate_of(tpm):
    size = struct.unpack(">H", taken(tpm.ask(read_public_nv(CERTIFICATE)), 0)[0][-2:])[0]
    return taken(tpm.ask(command(0x14e, [CERTIFICATE, CERTIFICATE], struct.pack(">HH", size, 0), True))[4:], 0)[0]


def certified(host, tpm):
    """Whether its certificate is one of this host's, for the endorsement key that it has."""
    root = os.path.join(host.folder, "root.pem")
    if not os.path.exists(root):
        host.ctl("ca", "export", root)
    certificate, key = certificate_of(tpm), public_of(tpm, ENDORSEMENT_KEY)[-POINT:]
    done = subprocess.run(["openssl", "verify", "-CAfile", root], input=certificate, capture_output=True)
    return done.returncode == 0 and b"\4" + key[2:34] + key[36:] in certificate
