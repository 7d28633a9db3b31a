# SPDX-License-Identifier: Apache-2.0
"""What the tests of a whole vTPM share: a vtpmd of their own, its tools, and TAP."""
import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(REPO, os.environ.get("VTPM_BUILD", "build/release"))


class Tap:
    """Counts and prints tests; done() gives the exit status."""

    def __init__(self):
        self.count = self.failed = 0
        print("TAP version 13", flush=True)

    def ok(self, passed, name, *why):
        self.count += 1
        self.failed += not passed
        for line in () if passed else why:
            print("# " + str(line).replace("\n", "\n# "))
        print(f"{'ok' if passed else 'not ok'} {self.count} {name}", flush=True)
        return passed

    def equal(self, got, want, name):
        return self.ok(got == want, name, f"got  {got!r}", f"want {want!r}")

    def done(self):
        print(f"1..{self.count}", flush=True)
        return 1 if self.failed or not self.count else 0


class Vtpmd:
    """A vtpmd with folders of its own; kernel=False serves socket nodes only. With start=False the caller starts it,
    after what it puts into the folders and adds to the environment.

    Its identities have no RSA key, for which an emulated guest would wait long; profile="standard" has.
    """

    program = (os.path.join(BUILD, "vtpmd"), )

    def __init__(self, kernel=False, options=(), start=True, profile="ecc"):
        self.options = ["--cert-profile", profile, *options]
        self.kernel = kernel
        self.environment = {}
        self.folder = tempfile.mkdtemp(prefix="vtpm-test-")
        self.state = os.path.join(self.folder, "state")
        self.run = os.path.join(self.folder, "run")
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = None
        atexit.register(self.clean)
        if start:
            self.start()

    def launch(self, *options):
        """The process, which may end at once."""
        command = [*self.program, "--state-dir", self.state, "--run-dir", self.run,
                   "--engine", os.path.join(BUILD, "vtpm-engine")]
        if not self.kernel:
            command.append("--no-kernel")
        return subprocess.Popen(command + self.options + list(options), stderr=self.log,
                                env=os.environ | self.environment)

    def start(self):
        self.process = self.launch()
        deadline = time.monotonic() + 60
        while not os.path.exists(os.path.join(self.run, "observe.sock")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("Bail out! vtpmd did not start:\n" + self.read_log())
            time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        status = self.process.wait(timeout=120)
        for name in ("admin.sock", "observe.sock"):
            path = os.path.join(self.run, name)
            if os.path.exists(path):
                os.unlink(path)
        return status

    def fork_server(self):
        """The PID that is in the lock file of the fork server's socket."""
        with open(os.path.join(self.run, "engine.sock.lock")) as file:
            return int(file.read())

    def end_fork_server(self):
        """The one that outlived a vtpmd that was killed; its workers go with it."""
        try:
            pid = self.fork_server()
            pidfd = os.pidfd_open(pid)
            with open(f"/proc/{pid}/cmdline") as file:
                if self.run not in file.read():
                    return
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            select.select([pidfd], [], [], 30)
        except (OSError, ValueError):
            pass

    def read_log(self):
        with open(self.log.name, errors="replace") as file:
            return file.read()

    def clean(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.end_fork_server()
        subprocess.run(["umount", os.path.join(self.run, "journal")], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ctl(self, *words, check=True):
        """vtpmctl WORDS -o json: what it prints, taken apart; with check=False the process."""
        done = subprocess.run([os.path.join(BUILD, "vtpmctl/vtpmctl"), "--socket",
                               os.path.join(self.run, "admin.sock"), "-o", "json", *words],
                              capture_output=True, text=True, timeout=300)
        if not check:
            return done
        if done.returncode:
            sys.exit(f"Bail out! vtpmctl {' '.join(words)}: {done.stderr}\n{self.read_log()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def records(self):
        """Every record, unsealed, by name. Reads a copy, as the store is in use."""
        copy = os.path.join(self.folder, "copy")
        shutil.rmtree(copy, ignore_errors=True)
        os.mkdir(copy, 0o700)
        for name in os.listdir(self.state):
            if name.startswith("store.db") and not name.endswith("lock"):
                shutil.copy2(os.path.join(self.state, name), copy)
        text = subprocess.run([os.path.join(BUILD, "selftests/record/dump-record"),
                               os.path.join(copy, "store.db"),
                               os.path.join(self.state, "host.key")],
                              capture_output=True, text=True, check=True).stdout
        return {record["name"]: record for record in json.loads(text)}


def until(condition, seconds=60):
    """Waits for it; False if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def tpm2(tool, *words, node, check=True, stdin=None):
    """One tool of tpm2-tools on a node (/dev/tpmN or a socket's path)."""
    tcti = f"device:{node}" if node.startswith("/dev/") else f"swtpm:path={node}"
    done = subprocess.run([f"tpm2_{tool}", "-T", tcti, *words], capture_output=True, text=True,
                          input=stdin, timeout=300)
    if check and done.returncode:
        sys.exit(f"Bail out! tpm2_{tool} {' '.join(words)}: {done.stderr}")
    return done


def memory(pid):
    """Every readable mapping of a process, as (first address, bytes)."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, mode, *rest = line.split()
            if mode[0] != "r" or rest[-1:] in (["[vvar]"], ["[vsyscall]"]):
                continue
            first, last = (int(x, 16) for x in span.split("-"))
            try:
                yield first, os.pread(mem.fileno(), last - first, first)
            except OSError:
                yield first, b""
