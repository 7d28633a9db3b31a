# SPDX-License-Identifier: Apache-2.0
"""A container that runs, made by crun: no TPM in it, the guest's files as its root, and a /dev of its own."""
import json
import os
import shutil
import subprocess
import tempfile

BASIC = [(1, 3), (1, 5), (1, 8), (1, 9)]  # null, zero, random, urandom
EVERY = [(None, None)]
OUTSIDE = 100000  # its root on the host, if it has a user namespace


def rule(major, minor):
    return {"allow": True, "type": "c", "access": "rw",
            **({} if major is None else {"major": major, "minor": minor})}


def numbers(view):
    """Of the nodes of a device, for `may_open`."""
    return [(view["dev_major"], view["dev_minor"]), (view["devrm_major"], view["devrm_minor"])]


class Container:
    count = 0

    def __init__(self, may_open=EVERY, user_namespace=False):
        Container.count += 1
        self.name = f"container-{Container.count}"
        self.bundle = tempfile.mkdtemp(prefix="container-")
        os.chmod(self.bundle, 0o755)
        root = os.path.join(self.bundle, "rootfs")
        os.mkdir(root)
        subprocess.run(["mount", "--bind", "/", root], check=True)
        every = ["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER"]
        config = {
            "ociVersion": "1.0.0",
            "root": {"path": "rootfs", "readonly": True},
            "process": {
                "args": ["sleep", "infinity"], "cwd": "/tmp", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True,
                "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TSS2_LOG=all+NONE"],
                "capabilities": {kind: every for kind in ("bounding", "effective", "permitted")},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup",
                                                           *(["user"] if user_namespace else []))],
                "cgroupsPath": f"/test/{self.name}",
                "resources": {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "m"},
                                          *(rule(*one) for one in [*BASIC, *may_open])]},
            },
        }
        if user_namespace:
            for ids in ("uidMappings", "gidMappings"):
                config["linux"][ids] = [{"containerID": 0, "hostID": OUTSIDE, "size": 65536}]
        with open(os.path.join(self.bundle, "config.json"), "w") as file:
            json.dump(config, file)
        # Into no pipe, which the container would hold open.
        self.crun("--cgroup-manager=cgroupfs", "run", "--detach", "--bundle", self.bundle, self.name, stdout=None)
        self.pid = json.loads(self.crun("state", self.name).stdout)["pid"]

    @staticmethod
    def crun(*words, stdout=subprocess.PIPE):
        return subprocess.run(["crun", *words], stdin=subprocess.DEVNULL, stdout=stdout, text=True, check=True, timeout=120)

    def run(self, *words):
        return subprocess.run(["crun", "exec", "--cwd", "/tmp", self.name, *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)

    def tool(self, name, *words):
        return self.run(f"tpm2_{name}", "-T", "device:/dev/tpmrm0", *words)

    def path(self, name):
        """Of a file in the container's /dev, from outside."""
        return f"/proc/{self.pid}/root/dev/{name}"

    def looks(self):
        """Its /dev and its mounts."""
        names = sorted(os.listdir(self.path("")))
        files = [os.lstat(self.path(name)) for name in names]
        with open(f"/proc/{self.pid}/mountinfo") as file:
            return names, [(one.st_mode, one.st_uid, one.st_ino, one.st_dev) for one in files], file.read()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.crun("delete", "--force", self.name)
        subprocess.run(["umount", "--lazy", os.path.join(self.bundle, "rootfs")], check=True)
        shutil.rmtree(self.bundle)
