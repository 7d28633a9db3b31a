# SPDX-License-Identifier: Apache-2.0
"""Many devices of one template, switched to read-write: no two are alike, and none is what the public state would be."""
from forged import BlankTpm
from identity import ENDORSEMENT_KEY, POINT, STORAGE_ROOT_KEY, certified, public_of
from tpm_commands import ENDORSEMENT, OWNER, create_primary, random, taken

BATCH = 20  # devices that one vtpmctl creates


def of_the_public_state(public, hierarchy):
    """The key that the same template gives on zero seeds."""
    with BlankTpm() as blank:
        return taken(blank.ask(create_primary(hierarchy, public[:-POINT] + bytes(4)))[8:], 0)[0]


def many(tap, host, count):
    names, views = [f"copy-{i}" for i in range(count)], []
    host.ctl("template", "create", "mould", *host.node())
    for at in range(0, count, BATCH):
        made = host.ctl("clone", "mould", *names[at:at + BATCH], "--mode", "read-only", "--start")
        views += made if isinstance(made, list) else [made]
    before, after, keys, roots, good = [], [], [], [], 0
    for view in views:
        with host.open(view) as tpm:
            before.append(tpm.ask(random())[2:])
            host.ctl("set-mode", view["name"], "read-write")
            after.append(tpm.ask(random())[2:])
            keys.append(public_of(tpm, ENDORSEMENT_KEY))
            roots.append(public_of(tpm, STORAGE_ROOT_KEY))
            good += certified(host, tpm)
    tap.equal(good, count, f"{count} certificates verify, each of its device's endorsement key")
    for what, seen in (("random numbers, before and after", before + after), ("endorsement keys", keys),
                       ("storage root keys", roots)):
        tap.ok(len(set(seen)) == len(seen) >= count, f"{len(seen)} {what}: all different")
    tap.ok(of_the_public_state(keys[0], ENDORSEMENT) not in keys and of_the_public_state(roots[0], OWNER) not in roots,
           "none is a key that the public state gives")
