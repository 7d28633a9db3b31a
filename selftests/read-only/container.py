# SPDX-License-Identifier: Apache-2.0
"""A container that runs before its TPM exists: namespaces of its own, a /dev of its own, no TPM in it."""
import subprocess

READY = "ready"


class Container:
    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3 && echo {READY} && exec sleep infinity"],
            stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != READY:
            raise OSError("the container does not start")

    def run(self, *words):
        return subprocess.run(["nsenter", "--mount", "--target", str(self.process.pid), *words], capture_output=True,
                              text=True, timeout=120)

    def give(self, view):
        """What a manager of containers does to add a device to one that runs."""
        return self.run("mknod", "/dev/tpmrm0", "c", str(view["devrm_major"]), str(view["devrm_minor"])).returncode == 0

    def tool(self, name, *words):
        return self.run(f"tpm2_{name}", "-T", "device:/dev/tpmrm0", *words)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
