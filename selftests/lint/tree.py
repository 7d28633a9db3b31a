# SPDX-License-Identifier: Apache-2.0
"""What the lints share: the tracked files of a repository, and how findings are told."""
import argparse
import os
import subprocess
import sys


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."),
                        help="the repository to look at")
    return parser.parse_args()


def tracked(root):
    """The files git knows, relative to root, that are there."""
    listing = subprocess.run(["git", "-C", root, "ls-files", "-z"], stdout=subprocess.PIPE, check=True).stdout
    names = [os.fsdecode(name) for name in listing.split(b"\0") if name]
    return [name for name in names if os.path.isfile(os.path.join(root, name))]


def lines(root, name):
    """The lines of a text file; none of a binary one."""
    with open(os.path.join(root, name), "rb") as f:
        data = f.read()
    return [] if b"\0" in data else data.decode("utf-8", "replace").splitlines()


def finish(lint, findings, looked_at):
    """Ends the program: with an error if there are findings, or if it looked at nothing at all."""
    for finding in findings:
        print(finding)
    if not looked_at:
        print(f"{lint}: nothing to look at")
    print(f"{lint}: {looked_at} files, {len(findings)} findings")
    sys.exit(1 if findings or not looked_at else 0)
