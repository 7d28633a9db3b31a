# SPDX-License-Identifier: Apache-2.0
"""A device as tpm2-tools see it: tests of what a command of theirs does."""
import os
import subprocess

# The certificate between the root and those of keys, as the TPM shows it.
FAMILY = "tpm2_nvread 0x01c00100 | openssl x509 -inform der -out family.pem"


class Device:
    """A device of vtpmd's, of which `view` is what vtpmctl says, and a folder for what tools write."""

    def __init__(self, tap, vtpmd, view):
        self.tap, self.vtpmd, self.view, self.name = tap, vtpmd, view, view["name"]
        self.folder = os.path.join(vtpmd.folder, "tools-" + self.name)
        os.makedirs(self.folder, exist_ok=True)

    def tcti(self):
        # The kernel's resource manager would flush with each tool what the next one needs.
        node = self.view["device_path"]
        return "device:" + node if node else "swtpm:path=" + self.view["socket_path"]

    def tools(self, command):
        return subprocess.run(["bash", "-c", "set -e -o pipefail; " + command], cwd=self.folder, capture_output=True,
                              text=True, timeout=300, env={
                                  **os.environ, "TPM2TOOLS_TCTI": self.tcti(),
                                  "TSS2_LOG": "all+none"})

    def succeeds(self, command, name):
        done = self.tools(command)
        return self.tap.ok(done.returncode == 0, name, command, done.stdout[-500:], done.stderr[-500:])

    def fails(self, command, name):
        return self.tap.ok(self.tools(command).returncode != 0, name, command)

    def output(self, command):
        return self.tools(command).stdout
