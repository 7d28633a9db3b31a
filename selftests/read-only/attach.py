# SPDX-License-Identifier: Apache-2.0
"""`vtpmctl attach` and `detach`: containers that run get the nodes of a device, or are left as they were."""
import os
import shutil
import subprocess
import tempfile

from container import OUTSIDE, Container, numbers
from harness import tpm2, until

FAILED, CONFLICT = 1, 4  # exit statuses of vtpmctl


def beginning(host, name):
    """A device, and `vtpmctl attach` or `detach` of it."""
    return host.create(name), lambda verb, pid, *words: host.ctl(verb, name, "--pid", str(pid), *words, check=False)


def attach(tap, host):
    view, late = beginning(host, "late")
    with Container(may_open=numbers(view)) as container:
        used(tap, late, container, view)
        link(tap, late, container, "tpmrm0", "/proc/1/root/tmp/elsewhere")
    with Container(may_open=[]) as container:
        before = container.looks()
        done = late("attach", container.pid)
        tap.ok(done.returncode == FAILED and all(f"'c {major}:{minor} rw'" in done.stderr for major, minor in numbers(view)),
               "a container whose cgroup forbids the node: the error says which rules it needs", done.returncode, done.stderr)
        tap.equal(container.looks(), before, "and it is as it was")
    host.ctl("delete", "late", "--force", "--release")


def attach_at_the_edges(tap, host):
    view, later = beginning(host, "later")
    with Container() as container:
        link(tap, later, container, "tpm0", "/tmp/elsewhere")
        in_use(tap, later, container)
        paused(tap, later, container)
        with_a_user_namespace(tap, later, view)
        no_containers(tap, later)
        stopped(tap, host, later, container)
    host.ctl("delete", "later", "--force", "--release")


def used(tap, late, container, view):
    before = container.looks()
    done = late("attach", container.pid)
    extended = container.tool("pcrextend", "16:sha256=" + "ab" * 32)
    inside = container.run("tpm2_pcrread", "-T", "device:/dev/tpm0", "sha256:16")
    outside = tpm2("pcrread", "sha256:16", node=view["device_path"])
    tap.ok(done.returncode == 0 and extended.returncode == 0 and inside.stdout == outside.stdout != "",
           "a container that runs measures with the device, by both nodes", done.stderr, extended.stderr, inside, outside)
    of_the_host = os.stat(view["device_path"])
    changed = container.run("sh", "-c", "stat -c '%u:%g %a' /dev/tpm0 /dev/tpmrm0; chmod 666 /dev/tpm0")
    tap.ok(changed.returncode == 0 and changed.stdout == "0:0 600\n" * 2 and os.stat(view["device_path"]) == of_the_host,
           "they belong to its root, who may change that; the host's stay as they are", changed)
    done = late("detach", container.pid)
    tap.ok(done.returncode == 0 and container.looks() == before, "detached, it is as it was before", done.stderr)


def link(tap, attached, container, place, target):
    """The container puts a link where a node is to be."""
    os.symlink(target, container.path(place))
    before = container.looks()
    done = attached("attach", container.pid)
    there = [top for top in (f"/proc/{container.pid}/root", "") if os.path.exists(top + "/tmp/elsewhere")]
    tap.ok(done.returncode == CONFLICT and f"/dev/{place} in the container already" in done.stderr and not there and
           container.looks() == before, f"a link at /dev/{place} to {target} is not followed", done.stderr, there)
    os.unlink(container.path(place))


def in_use(tap, later, container):
    for place in ("tpm0", "tpmrm0"):
        open(container.path(place), "w").close()
    tap.equal(later("attach", container.pid).returncode, 0, "an empty file is a place for a node")
    again = later("attach", container.pid, "--as", "1")
    tap.ok(again.returncode == CONFLICT and "/dev/tpm0" in again.stderr, "a container does not get them twice", again.stderr)
    holder = subprocess.Popen(["crun", "exec", container.name, "sh", "-c", "exec 3<>/dev/tpmrm0; echo; read -r line; "
                               "printf '\\200\\001\\000\\000\\000\\014\\000\\000\\001\\173\\000\\010' >&3; head -c 20 <&3 | wc -c"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()
    done = later("detach", container.pid)
    tap.ok(done.returncode == 0 and holder.communicate("go\n", timeout=60)[0] == "20\n",
           "detached, what has a node open goes on", done.stderr)
    tap.equal(later("detach", container.pid).returncode, CONFLICT, "there is no second time")


def paused(tap, later, container):
    before = container.looks()
    container.crun("pause", container.name)
    done = later("attach", container.pid)
    container.crun("resume", container.name)
    tap.ok(done.returncode == FAILED and "paused" in done.stderr and container.looks() == before,
           "a paused container is left as it was", done.stderr)


def stopped(tap, host, later, container):
    """The device is stopped while it is attached: the node that the container has leads nowhere, and can be taken away."""
    later("attach", container.pid)
    host.ctl("stop", "later")
    tap.ok(container.tool("getrandom", "4").returncode != 0, "the node of a device that is stopped opens nothing")
    off = later("detach", container.pid)
    tap.ok(off.returncode == 0 and not os.path.exists(container.path("tpmrm0")), "and is taken away", off.stderr)


def with_a_user_namespace(tap, later, view):
    with Container(user_namespace=True) as container:
        done = later("attach", container.pid, "--as", "7")
        works = container.run("tpm2_getrandom", "-T", "device:/dev/tpmrm7", "--hex", "8")
        inside = container.run("stat", "-c", "%u:%g %a", "/dev/tpm7", "/dev/tpmrm7").stdout
        outside = os.stat(container.path("tpm7"))
        tap.ok(done.returncode == 0 and works.returncode == 0, "a container with a user namespace uses it, by another number",
               done.stderr, works)
        tap.equal((inside, outside.st_uid, outside.st_rdev), ("0:0 600\n" * 2, OUTSIDE, os.makedev(*numbers(view)[0])),
                  "the node belongs to its root")


def command_line(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def no_containers(tap, later):
    """Processes with mounts of their own that are none, or that have put a link in place of /dev."""
    before = sorted(os.listdir("/dev"))
    jail = tempfile.mkdtemp()
    shutil.copy(shutil.which("busybox"), jail)
    os.symlink("/tmp", os.path.join(jail, "dev"))
    os.mkdir(os.path.join(jail, "tmp"))
    for words, why in ((["sleep", "infinity"], "the host's own /dev"),
                       (["--root", jail, "/busybox", "sleep", "1000"], "symbolic link")):
        process = subprocess.Popen(["unshare", "--mount", *words])
        until(lambda: b"unshare" not in command_line(process.pid))
        done = later("attach", process.pid)
        tap.ok(done.returncode == FAILED and why in done.stderr and sorted(os.listdir("/dev")) == before,
               f"refused: {why}", done.stderr)
        process.kill()
        process.wait()
    tap.equal(os.listdir(os.path.join(jail, "tmp")), [], "nothing is put where the link leads")
