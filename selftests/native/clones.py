# SPDX-License-Identifier: Apache-2.0
"""What the tests of clones share: what a guest leaves in its TPM, how it is looked at, and deaths in the making."""
import os
import random
import signal
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../chaos")]
import tools  # noqa: E402
from harness import until  # noqa: E402
from points import gone  # noqa: E402

OWNER = "-P secret"
ROOT_KEY = "tpm2_readpublic -Q -c 0x81000001 -f pem -o srk && cat srk"
ENDORSEMENT_KEYS = " && ".join(
    f"tpm2_createek -Q -G {kind} -c now.ctx -u {kind}.pub -f pem && tpm2_flushcontext -t && cat {kind}.pub"
    for kind in ("ecc", "ecc384"))
KEPT_ENDORSEMENT_KEY = "tpm2_readpublic -Q -c 0x81010002 -f pem -o kept && cat kept"
CERTIFICATES = "for i in 0x01c0000a 0x01c00016; do tpm2_nvread $i | openssl x509 -inform der -pubkey -noout; done"
LINEAGE = "tpm2_nvread -C o -P secret 0x01000711 -o lineage && xxd -p -c 100 lineage"
GENERATION = "tpm2_nvread -C o -P secret 0x01000712 -o generation && xxd -p generation"
ATTESTATION_KEY = "tpm2_readpublic -Q -c 0x81020001 -f pem -o iak.pub && cat iak.pub"
SIGN = (f"{LINEAGE} && {GENERATION} && {ATTESTATION_KEY} && tpm2_startauthsession --policy-session -S s.ctx &&"
        " tpm2_policynv -Q -S s.ctx -C o -P secret -i lineage 0x01000711 eq &&"
        " tpm2_policynv -Q -S s.ctx -C o -P secret -i generation 0x01000712 eq &&"
        " tpm2_quote -Q -c 0x81020001 -p session:s.ctx -l sha256:0 -q 5ca1ab1e -m quote -s signature -f plain &&"
        " tpm2_flushcontext s.ctx && openssl dgst -sha256 -verify iak.pub -signature signature quote")
NV = "tpm2_nvread -C o -P secret 0x1500001"
KEY = "tpm2_readpublic -Q -c 0x81000200 -n name -o key.pub && xxd -p -c 100 name"
UNSEAL = ("tpm2_load -Q -C 0x81000001 -u ../seal.pub -r ../seal.priv -c seal.ctx && tpm2_unseal -c seal.ctx"
          " && tpm2_flushcontext -t")
PCR = "tpm2_pcrread -Q sha256:16 -o pcr && xxd -p -c 100 pcr"
EVERYTHING = ("SRK", "sealed data", "NV data", "owner's key")
IDENTITY = ("endorsement keys", "kept endorsement key", "certificates", "attestation key", "lineage")


def device(tap, vtpmd, *words):
    return tools.Device(tap, vtpmd, vtpmd.ctl(*words))


def furnished(tap, vtpmd, name):
    """What a guest leaves in its TPM."""
    source = device(tap, vtpmd, "create", name, *([] if vtpmd.kernel else ["--node", "socket"]), "--start")
    source.succeeds(
        "tpm2_changeauth -c o secret && echo -n 'the launch code' |"
        " tpm2_create -Q -C 0x81000001 -i - -u ../seal.pub -r ../seal.priv && tpm2_flushcontext -t &&"
        " tpm2_nvdefine -Q -C o -P secret -s 4 0x1500001 && echo -n data | tpm2_nvwrite -Q -C o -P secret -i - 0x1500001 &&"
        " tpm2_create -Q -C 0x81000001 -G ecc:ecdsa -u key.pub -r key.priv -c key.ctx && tpm2_evictcontrol -Q -C o -P secret"
        " -c key.ctx 0x81000200 && tpm2_flushcontext -t && tpm2_pcrextend 16:sha256=" + "5a" * 32,
        "a device has an owner's password, sealed data, NV data, a key and a measurement")
    source.succeeds(
        "tpm2_createek -Q -G ecc -c ../endorsement.ctx -u ek.pub && tpm2_flushcontext -t &&"
        " tpm2_createprimary -Q -C n -G ecc -c ../null.ctx && tpm2_flushcontext -t &&"
        " tpm2_startauthsession --policy-session -S ../session.ctx", "and has saved contexts and a session")
    return source


def look(one):
    return {name: one.output(command) for name, command in (
        ("SRK", ROOT_KEY), ("endorsement keys", ENDORSEMENT_KEYS), ("kept endorsement key", KEPT_ENDORSEMENT_KEY),
        ("certificates", CERTIFICATES), ("attestation key", ATTESTATION_KEY), ("lineage", LINEAGE),
        ("sealed data", UNSEAL), ("NV data", NV), ("owner's key", KEY))}


def compare(source, clone, stays, changes):
    """Both are on; `source` as look() saw it."""
    tap, seen = clone.tap, look(clone)
    for name in stays:
        tap.ok(source[name] and seen[name] == source[name], f"{clone.name}: same {name}", source[name], seen[name])
    for name in changes:
        tap.ok(source[name] and seen[name] and seen[name] != source[name], f"{clone.name}: other {name}", source[name],
               seen[name])
    clone.fails("tpm2_createprimary -Q -C o -c p.ctx", f"{clone.name}: the owner has a password")
    clone.succeeds(f"tpm2_createprimary -Q -C o {OWNER} -c p.ctx && tpm2_flushcontext -t", f"{clone.name}: the same one")
    clone.succeeds(
        f"{tools.FAMILY} && for i in 0x01c0000a 0x01c00016 0x01c90100; do tpm2_nvread $i |"
        f" openssl x509 -inform der -out c.pem && openssl verify -CAfile {clone.vtpmd.folder}/root.pem -untrusted family.pem"
        " c.pem; done && openssl x509 -in c.pem -pubkey -noout > certified && tpm2_readpublic -Q -c 0x81020001 -f pem -o made"
        " && diff certified made", f"{clone.name}: its certificates verify")
    clone.succeeds(f"diff family.pem {clone.vtpmd.folder}/tools-source/family.pem", f"{clone.name}: it is of the same family")
    clone.succeeds(SIGN, f"{clone.name}: its attestation key signs")
    clone.succeeds(
        f"{CERTIFICATES} > certified && ({ENDORSEMENT_KEYS}) > made && diff certified made",
        f"{clone.name}: and are those of the keys that tpm2_createek makes")
    for context in ("endorsement", "null"):
        clone.fails(f"tpm2_readpublic -Q -c ../{context}.ctx", f"{clone.name}: a context of the source's is refused, {context}")
    clone.fails("tpm2_policypcr -Q -S ../session.ctx -l sha256:0", f"{clone.name}: a session of the source's is refused")
    return seen


def die(vtpmd, image, point, words):
    """Whoever comes to the point dies there while vtpmctl does `words`: vtpmd, or who works for it. Whether one did."""
    if image.name != "vtpmd":
        server = vtpmd.fork_server()
        code = image.plant_in_children(server, point)
        died = vtpmd.ctl(*words, check=False).returncode != 0
        image.take_out(server, point, code)
        return died
    image.plant(vtpmd.process.pid, point, random)
    client = threading.Thread(target=lambda: vtpmd.ctl(*words, check=False))
    client.start()
    died = until(lambda: gone(vtpmd.process.pid), 30)
    died = vtpmd.stop(signal.SIGKILL) == -signal.SIGTRAP and died
    client.join()
    vtpmd.start()
    return died
