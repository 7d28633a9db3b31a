# SPDX-License-Identifier: Apache-2.0
"""tpm2-tools, as a firmware, a boot loader, a kernel and an installer use a TPM: what they get from a read-only device.

A row is who asks, for what, by which tool, and what it gets: nothing wrong, a response code, or TPM_RC_READ_ONLY for a
command. The last kind also says whether the tool gets what it wants once the device is read-write.
"""
import os
import re
import subprocess
from collections import namedtuple

from harness import tpm2

Row = namedtuple("Row", "who tool words gets later", defaults=(None, True))
Refused = namedtuple("Refused", "command")
NO_HANDLE = 0x18b  # TPM_RC_HANDLE of the first handle: there is no such object or index
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

ROWS = (
    Row("firmware", "selftest", "--fulltest"),
    *(Row("firmware", "getcap", kind) for kind in ("properties-fixed", "properties-variable", "commands", "algorithms",
                                                   "pcrs", "ecc-curves", "handles-persistent", "handles-nv-index")),
    Row("firmware", "pcrread", "sha1:0+sha256:0,7"),
    *(Row("firmware", "pcrextend", f"{pcr}:sha256={EMPTY}") for pcr in range(8)),
    Row("firmware", "pcrevent", "5 {data}"),
    Row("firmware", "pcrallocate", "sha1:all+sha256:all+sha384:all+sha512:all"),
    Row("firmware", "changeauth", "-c p secret", later=False),
    Row("firmware, asked to clear by its user", "clearcontrol", "-C p -P secret s", Refused("ClearControl"), False),
    Row("boot loader", "pcrextend", f"8:sha256={EMPTY} 9:sha256={EMPTY}"),
    Row("boot loader", "hash", "-C n -g sha256 --hex {data}"),
    Row("Linux", "selftest", ""),
    Row("Linux", "incrementalselftest", "sha256"),
    Row("Linux", "gettestresult", ""),
    Row("Linux", "getrandom", "--hex 32"),
    Row("Linux", "stirrandom", "{data}"),
    Row("Linux", "pcrread", "sha256:10"),
    Row("Linux", "pcrextend", f"10:sha256={EMPTY}"),
    Row("Linux", "readclock", ""),
    Row("systemd", "testparms", "ecc:ecdsa"),
    Row("systemd", "pcrextend", f"11:sha256={EMPTY} 15:sha256={EMPTY}"),
    Row("systemd", "createprimary", "-C o -G ecc -c {out}", Refused("CreatePrimary")),
    Row("systemd", "readpublic", "-c 0x81000001", NO_HANDLE),
    Row("installer", "startauthsession", "--policy-session -S {session}"),
    Row("installer", "policypcr", "-S {session} -l sha256:7"),
    Row("installer", "policysecret", "-S {session} -c o"),
    Row("installer", "policysecret", "-S {session} -c l", Refused("PolicySecret")),
    Row("installer", "flushcontext", "{session}"),
    Row("installer", "nvreadpublic", ""),
    Row("installer", "nvread", "0x01c0000a -o {out}", NO_HANDLE),
    Row("installer", "createek", "-G ecc -c {out} -u {public}", Refused("CreatePrimary")),
    Row("installer", "createprimary", "-C e -G ecc -c {out}", Refused("CreatePrimary")),
    Row("installer", "createprimary", "-C n -G ecc -c {out}", Refused("CreatePrimary")),
    Row("installer", "loadexternal", "-C n -G ecc -u {key} -c {out}", Refused("LoadExternal")),
    Row("installer", "ecephemeral", "ecc256 -u {public} -t {out}", Refused("EC_Ephemeral")),
    Row("installer", "nvdefine", "0x1500010 -C o -s 8", Refused("NV_DefineSpace")),
    Row("installer", "setprimarypolicy", "-C o", Refused("SetPrimaryPolicy")),
    Row("installer", "dictionarylockout", "--clear-lockout", Refused("DictionaryAttackLockReset")),
    Row("installer", "dictionarylockout", "-s -n 9 -t 9 -l 9", Refused("DictionaryAttackParameters")),
    Row("installer", "setclock", "999999999", Refused("ClockSet")),
    Row("installer", "setcommandauditstatus", "-C o TPM2_CC_GetRandom", Refused("SetCommandCodeAuditStatus")),
    Row("installer", "changeauth", "-c e secret", Refused("HierarchyChangeAuth")),
    Row("installer", "changeauth", "-c l secret", Refused("HierarchyChangeAuth"), False),
    Row("installer", "changeauth", "-c o secret", Refused("HierarchyChangeAuth")),
    Row("installer", "clear", "-c l", Refused("Clear")),
)
SUPPRESSED_FROM = 20  # vtpmd hears of so many refusals at once


def tool_of(row):
    return f"{row.who}: tpm2_{row.tool} {re.sub('[{}]', '', row.words)}".rstrip()


def use(row, node, folder):
    paths = {name: os.path.join(folder, name) for name in ("data", "out", "session", "public", "key")}
    return tpm2(row.tool, *(word.format(**paths) for word in row.words.split()), node=node, check=False)


def right(row, done, read_write):
    """Whether the tool got what the row says."""
    if isinstance(row.gets, Refused):
        return done.returncode == 0 if read_write else done.returncode != 0 and "0x156" in done.stderr.lower()
    if row.gets and not read_write:
        return done.returncode != 0 and f"{row.gets:#x}" in done.stderr.lower()
    return done.returncode == 0


def tools(tap, host):
    view = host.create("booting", "--mode", "read-only", "--for", "open")
    node, folder = view["device_path"] or view["socket_path"], os.path.join(host.folder, "tools")
    os.mkdir(folder)
    with open(os.path.join(folder, "data"), "wb") as file:
        file.write(b"data")
    subprocess.run("openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout", shell=True, check=True,
                   stdout=open(os.path.join(folder, "key"), "wb"), stderr=subprocess.DEVNULL)
    for row in ROWS:
        done = use(row, node, folder)
        gets = f"TPM_RC_READ_ONLY for TPM2_{row.gets.command}" if isinstance(row.gets, Refused) else (
            f"{row.gets:#x}" if row.gets else "what it wants")
        tap.ok(right(row, done, False), f"read-only: {tool_of(row)}: gets {gets}", done.returncode, done.stderr)
    wanted = ["TPM2_" + row.gets.command for row in ROWS if isinstance(row.gets, Refused)][:SUPPRESSED_FROM]
    told = host.ctl("denied", "booting", "--limit", "100")
    tap.equal([one["command"] for one in told][:SUPPRESSED_FROM], wanted, "the host knows of each refusal")
    words = host.ctl("explain", "0x156")
    tap.ok(words["name"] == "TPM_RC_READ_ONLY" and "read-only mode: it makes, stores and uses no key or secret" in
           words["meaning"], "vtpmctl explain 0x156 says what it means", words)
    host.ctl("set-mode", "booting", "read-write")
    for row in ROWS:
        if row.later:
            done = use(row, node, folder)
            tpm2("flushcontext", "--transient-object", node=node)
            tap.ok(right(row, done, True), f"read-write: {tool_of(row)}: gets what it wants", done.returncode, done.stderr)
