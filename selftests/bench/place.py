# SPDX-License-Identifier: Apache-2.0
"""Where it is measured: this guest, with device nodes, or this machine, with sockets. What both have in common is
here: a vtpmd, the TPMs that it is measured against, and the programs that measure."""
import ctypes
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from harness import BUILD, Vtpmd, until  # noqa: E402
from tpm_commands import Tpm, read_pcr, startup  # noqa: E402

GUEST = os.environ.get("VTPM_GUEST") == "1"
RIVAL = "in-tree" if GUEST else "swtpm"
FLOOR = "pipe" if GUEST else "unix"  # what a client of such a node waits for at least
PROGRAMS = os.path.join(BUILD, "selftests/bench")
AT_ONCE = 10  # devices that one vtpmctl creates


def words(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def field(path, pattern):
    with open(path, encoding="ascii", errors="replace") as file:
        found = re.search(pattern, file.read(), re.M)
    return found.group(1) if found else ""


def environment(vtpmd):
    """What each figure has to be read with."""
    def kind(path):
        return words("stat", "-f", "-c", "%T", path)
    cpu = field("/proc/cpuinfo", r"^model name\s*: (.*)$")
    return {
        "kernel": os.uname().release,
        "CPUs": len(os.sched_getaffinity(0)),
        "machine": "QEMU, software emulation (TCG)" if "TCG" in cpu else cpu,
        "mitigations": "off" if "mitigations=off" in field("/proc/cmdline", "(.*)") else "on",
        "store": f"{vtpmd.state} on {kind(vtpmd.state)}, synced before the reply if the permanent state changed",
        "checkpoint": f"journal on {kind(os.path.join(vtpmd.run, 'journal'))} for each command that changes something",
        "identities": vtpmd.options[vtpmd.options.index("--cert-profile") + 1],
        "engines": f"{words(os.path.join(BUILD, 'vtpm-engine'), '--version')}; swtpm "
                   + re.search(r"version ([0-9.]+)", words("swtpm", "--version")).group(1),
    }


class Ours:
    """A vtpmd whose syncs are counted, which slows no device down. Its store is where temporary files are (TMPDIR),
    what it has in /run on a host is on a tmpfs as /run is."""

    def __init__(self, *options, profile="ecc", ahead=0):
        self.ahead = ahead
        self.vtpmd = Vtpmd(kernel=GUEST, options=["--write-rate", "0", "--identities-ahead", str(ahead), *options], start=False,
                           profile=profile)
        self.folder = tempfile.mkdtemp(prefix="vtpm-bench-", dir="/dev/shm")
        self.vtpmd.run = os.path.join(self.folder, "run")
        self.clock = os.path.join(self.vtpmd.folder, "syncs")
        with open(self.clock, "wb") as file:
            file.write(bytes(16))
        self.vtpmd.environment = {"LD_PRELOAD": os.path.join(PROGRAMS, "libsync-clock.so"), "VTPM_SYNC_CLOCK": self.clock}
        self.vtpmd.start()

    def create(self, names, *options):
        """What vtpmctl shows of them, started."""
        made = []
        for at in range(0, len(names), AT_ONCE):
            got = self.vtpmd.ctl("create", *names[at:at + AT_ONCE], *options, "--start", *(() if GUEST else ("--node", "socket")))
            made += got if isinstance(got, list) else [got]
        return made

    def wait_until_ahead(self):
        """As many identities as there may be are begun ahead of need."""
        full = f"{self.ahead} of {self.ahead} "
        if not until(lambda: full in self.vtpmd.ctl("doctor", check=False).stdout):
            sys.exit("no identity is begun ahead:\n" + self.vtpmd.read_log())

    def life(self, part, *options):
        """bench-life."""
        return measured("bench-life", "--socket", os.path.join(self.vtpmd.run, "admin.sock"), "--clock", self.clock,
                        "--node", "kernel" if GUEST else "socket", *options, part)

    def end(self):
        self.vtpmd.clean()
        shutil.rmtree(self.folder, ignore_errors=True)


def node(device, resource_manager=False):
    if not GUEST:
        return device["socket_path"]
    return device["rm_device_path" if resource_manager else "device_path"]


def measured(program, *options, cpu=None):
    """What bench or bench-life prints, on this processor alone or on any."""
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    done = subprocess.run([*pinned, os.path.join(PROGRAMS, program), *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(options)}\n{done.stderr}")
    return json.loads(done.stdout)


def keep_on(pids, cpus):
    """All threads of these processes run there and nowhere else."""
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), cpus)


class Rival:
    """One TPM of those that we are measured against: the kernel's proxy with swtpm, or swtpm on a socket."""

    def __init__(self, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="bench-rival-")
        self.process = None
        if GUEST:
            self.node, self.rm_node = words(os.path.join(HERE, "../guest/intree-device"), self.folder).split()
            with open(os.path.join(self.folder, "pid"), encoding="ascii") as file:
                self.pid = int(file.read())
            return
        self.node = self.rm_node = os.path.join(self.folder, "sock")
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--flags", "not-need-init,startup-clear",
             "--server", f"type=unixio,path={self.node}", "--ctrl", f"type=unixio,path={self.node}.ctrl"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        deadline = time.monotonic() + 60
        while not os.path.exists(self.node):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("swtpm does not start")
            time.sleep(0.0005)

    def connected(self):
        """Its socket is there a moment before it listens."""
        for _ in range(20000):
            try:
                return Tpm(self.node)
            except ConnectionRefusedError:
                time.sleep(0.0005)
        sys.exit("swtpm does not listen")

    def first_reply(self):
        with self.connected() as tpm:
            tpm.code(startup())
            tpm.ask(read_pcr(16))

    def end(self):
        if self.process is None:
            os.kill(self.pid, 15)
        else:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def new_swtpm_identity(folder):
    """swtpm_setup as libvirt runs it: endorsement keys and their certificates, by a local authority of its own."""
    setup, local = os.path.join(folder, "setup.conf"), os.path.join(folder, "localca.conf")
    state = os.path.join(folder, "state")
    os.makedirs(state, exist_ok=True)
    with open(local, "w", encoding="ascii") as file:
        file.write(f"statedir = {folder}/ca\nsigningkey = {folder}/ca/signkey.pem\nissuercert = {folder}/ca/issuercert.pem\n"
                   f"certserial = {folder}/ca/certserial\n")
    with open(setup, "w", encoding="ascii") as file:
        file.write(f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {local}\n"
                   "create_certs_tool_options = /etc/swtpm-localca.options\nactive_pcr_banks = sha256\n")
    shutil.rmtree(state)
    os.mkdir(state)
    done = subprocess.run(["swtpm_setup", "--tpm2", "--tpmstate", state, "--config", setup, "--create-ek-cert",
                           "--create-platform-cert", "--lock-nvram"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"swtpm_setup: {done.stdout}{done.stderr}")
    return state


def memory(pid):
    """kB of a process."""
    fields = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            name, value = line.split()[:2]
            fields[name.rstrip(":")] = int(value)
    return {"Pss": fields["Pss"], "private dirty": fields["Private_Dirty"], "anonymous": fields["Anonymous"]}


def pages_of(path):
    """kB of a file on ramfs that are there: its holes take none."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        base = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        there = ctypes.create_string_buffer((size + mmap.PAGESIZE - 1) // mmap.PAGESIZE)
        if libc.mincore(base, size, there):
            sys.exit("mincore: " + os.strerror(ctypes.get_errno()))
        libc.munmap(base, size)
    return sum(byte & 1 for byte in there.raw) * mmap.PAGESIZE // 1024


def meminfo(*names):
    """kB of the machine."""
    return {name: int(field("/proc/meminfo", rf"^{name}:\s*(\d+)")) for name in names}
