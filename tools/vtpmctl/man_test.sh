#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each verb and option of vtpmctl is in its man page, and the man pages are well-formed.
# Usage: man_test.sh VTPMCTL
set -u
man=$(dirname "$(readlink -f "$0")")/../../Documentation/man
vtpmctl=$1
failed=0

require() {  # TEXT: what of the page must be there
  if ! grep -qF -- "$1" "$man/vtpmctl.1"; then
    echo "FAIL: vtpmctl.1 lacks '$1'"
    failed=1
  fi
}

verbs=$("$vtpmctl" __complete verbs | cut -f1)
[[ -n $verbs ]] || { echo "FAIL: no verbs"; exit 1; }
for verb in $verbs; do
  require ".It Cm $verb"
  for option in $("$vtpmctl" __complete options "$verb" | cut -f1); do
    require "Fl -${option#--}"
  done
done
if command -v mandoc >/dev/null; then
  # mandoc also tells of references that its database lacks, which is no fault of the page.
  mandoc -T lint -W warning "$man"/*.[1-8] | grep . && failed=1
fi
exit $failed
