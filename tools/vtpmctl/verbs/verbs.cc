// SPDX-License-Identifier: Apache-2.0
#include "verbs/verbs.h"

#include <algorithm>
#include <istream>
#include <ostream>

#include "words.h"

namespace vtpm::ctl {
namespace {

constexpr Verb kVerbs[] = {
    {"create", "Create a virtual TPM.",
     "A new device is off until it is started. In read-only mode it has no identity and makes no\n"
     "keys: right for images that are copied later. With --from, what is not said is as in that\n"
     "template or read-only device.\n\n"
     "Examples:\n"
     "  vtpmctl create web --owner shop --start\n"
     "  vtpmctl create db-1 db-2 db-3 --owner shop --start\n"
     "  vtpmctl create golden --mode read-only --for vm --node socket\n"
     "  vtpmctl create vm-7 --from small-vm --owner shop --start\n",
     declare_create},
    {"clone", "Make devices like another one, each with an identity of its own.",
     "Of a template or a read-only device, settings are taken. Of a read-write device, on or off,\n"
     "also what it holds: sealed data opens, NV indices, the owner's keys and passwords are "
     "there.\n"
     "Endorsement keys and certificates are new; PCRs are those of a TPM just powered on.\n\n"
     "Examples:\n"
     "  vtpmctl clone golden web-1 web-2 web-3 --start\n"
     "  vtpmctl clone golden staging --mode read-only --owner staging\n"
     "  vtpmctl clone web web-copy --fresh-storage\n"
     "  vtpmctl clone web@before-update web-then     # of a snapshot\n",
     declare_clone},
    {"rebase", "Give clones their identity that were left without: the rest of 'clone'.",
     "A clone whose making was interrupted is quarantined: it has its source's identity and is "
     "never\n"
     "started. This finishes it, or 'vtpmctl delete' gives it up.\n\n"
     "Examples:\n"
     "  vtpmctl rebase web-copy\n",
     declare_rebase},
    {"snapshot", "Take, list, show or delete snapshots: devices as they were.",
     "Of a read-write device, on or off: all that it has stored up to its last reply. It goes on\n"
     "meanwhile. A snapshot is never started; 'clone' makes devices from it, 'rollback' goes back "
     "to\n"
     "it. It holds every secret that the device had.\n\n"
     "Examples:\n"
     "  vtpmctl snapshot create web@before-update\n"
     "  vtpmctl snapshot list web\n"
     "  vtpmctl snapshot delete web@before-update\n",
     declare_snapshot},
    {"rollback", "Go back to a snapshot: a clone of it takes the device's place.",
     "Sealed data, NV indices and keys are those of the snapshot; endorsement keys and "
     "certificates\n"
     "are new, and the lineage shows it. What the device was is retired: its state is wiped, its\n"
     "record stays for its certificates. Refused while the device is on, and if there are newer\n"
     "snapshots. Asks for the device's name first; a script says --yes.\n\n"
     "Examples:\n"
     "  vtpmctl rollback web@before-update --stop --start\n"
     "  vtpmctl rollback web@monday --delete-newer --yes\n",
     declare_rollback},
    {"template", "Create, list, show or delete templates: settings for devices to be made.",
     "A template is a read-only device that is never started. 'create --from' and 'clone' make\n"
     "devices from it; it may be deleted at any time, nothing depends on it.\n\n"
     "Examples:\n"
     "  vtpmctl template create small-vm --for vm --node socket\n"
     "  vtpmctl template create golden --from web     # a read-only device's settings\n"
     "  vtpmctl template list\n"
     "  vtpmctl template delete golden\n",
     declare_template},
    {"list", "List the devices.",
     "Examples:\n"
     "  vtpmctl list\n"
     "  vtpmctl list -o json | jq -r '.[] | select(.state == \"failed\") | .name'\n",
     declare_list},
    {"show", "Show all that is known of one device.",
     "Examples:\n"
     "  vtpmctl show web\n"
     "  vtpmctl show web -o json | jq -r .device_path\n",
     declare_show},
    {"set", "Change settings of devices, whether they are on or off.",
     "Takes effect at once. What is not named stays as it is.\n\n"
     "Examples:\n"
     "  vtpmctl set web --owner shop\n"
     "  vtpmctl set build-7 build-8 --park-after 10m\n"
     "  vtpmctl set web --park-after never     # or default: as vtpmd does\n",
     declare_set},
    {"start", "Switch devices on: their nodes appear.",
     "A device that was off starts like a computer that was off: PCRs are reset, keys are kept.\n"
     "Before anybody uses the device of a container, --measure extends the digest of a file into\n"
     "PCR 9 and --measure-text that of a text into PCR 8; 'vtpmctl event-log' has the log.\n\n"
     "Examples:\n"
     "  vtpmctl start web\n"
     "  vtpmctl start web db cache\n"
     "  vtpmctl start web --measure manifest.json --measure-text 'cmdline=httpd -f'\n",
     declare_start},
    {"stop", "Switch devices off: their nodes vanish, what is stored stays.",
     "Clients that have the device open get an error. PCRs and sessions are lost, as when a\n"
     "computer loses power. The number N of /dev/tpmN stays held, see 'vtpmctl release --help'.\n\n"
     "Examples:\n"
     "  vtpmctl stop web\n"
     "  vtpmctl stop web --release    # the container is gone, too\n",
     declare_stop},
    {"attach", "Give a device's nodes to a container that runs.",
     "They appear as /dev/tpmN and /dev/tpmrmN in the container, N of your choice, and belong to "
     "its\n"
     "root. What its cgroup forbids stays forbidden: then the container is left as it was. Run it "
     "as\n"
     "root, on the host. Restarted, the container does not have them any more.\n\n"
     "Examples:\n"
     "  vtpmctl attach web --pid $(crun state web | jq .pid)\n"
     "  vtpmctl attach web --pid $(podman inspect -f '{{.State.Pid}}' web) --as 1\n",
     declare_attach},
    {"detach", "Take the nodes away again that 'attach' gave to a container.",
     "The device stays on. Programs that have a node open keep it: 'vtpmctl stop' ends that, "
     "too.\n\n"
     "Examples:\n"
     "  vtpmctl detach web --pid $(crun state web | jq .pid)\n",
     declare_detach},
    {"delete", "Delete devices with all they store. This cannot be undone.",
     "Keys and sealed data of the device are lost for good.\n\n"
     "Examples:\n"
     "  vtpmctl delete web\n"
     "  vtpmctl delete web --force --release\n",
     declare_delete},
    {"power-cycle", "Cut and restore the power of a device; number, nodes and open files stay.",
     "The way out of the state 'failed'. PCRs and sessions start afresh, which a running "
     "container\n"
     "or VM does not expect: restart it, too. Asks first on a terminal; a script says --yes.\n"
     "What start measured is measured again, or what --measure and --measure-text name instead.\n\n"
     "Examples:\n"
     "  vtpmctl power-cycle web\n"
     "  vtpmctl power-cycle web --yes\n"
     "  vtpmctl power-cycle web --yes --measure config.json\n",
     declare_power_cycle},
    {"set-mode", "Give a read-only device an identity, while it is off or in use.",
     "The device becomes read-write: it gets seeds, endorsement keys with certificates and a "
     "storage\n"
     "root key, all new. If it is on, PCRs, sessions, open files and the clock go on, and the "
     "next\n"
     "command may make keys. There is no way back but 'vtpmctl generalize'.\n\n"
     "Examples:\n"
     "  vtpmctl set-mode web read-write\n",
     declare_set_mode},
    {"generalize", "Wipe the identity of a device that is off: it becomes read-only.",
     "For an image that was installed with a read-write device and is to be copied. Keys, sealed\n"
     "data, NV indices and passwords of the device are lost for good. Asks for the name first; a\n"
     "script says --yes.\n\n"
     "Examples:\n"
     "  vtpmctl generalize golden\n"
     "  vtpmctl generalize golden --yes && vtpmctl clone golden web-1 web-2\n",
     declare_generalize},
    {"park", "Take the process of idle devices away until their next command.",
     "Nothing is lost and no client notices but by a pause: node, open files, PCRs, sessions and\n"
     "loaded objects stay. vtpmd does it by itself if it runs with --park-after or "
     "--max-active.\n"
     "A device on a socket can be parked while no client is connected to it.\n\n"
     "Examples:\n"
     "  vtpmctl park web\n",
     declare_park},
    {"release", "Let the number of a destroyed node be used again.",
     "When a device stops, the number N of its /dev/tpmN is held: a container may still have the\n"
     "node bind-mounted and allowed, and would reach the TPM of whoever got the number next.\n"
     "Release it once that container or VM is gone. Numbers that nobody releases are freed when\n"
     "the module is unloaded.\n\n"
     "Examples:\n"
     "  vtpmctl release web\n"
     "  vtpmctl release --all\n",
     declare_release},
    {"export", "Move a device to another host: it leaves as a file sealed to that one.",
     "The device is off. From then on it is not this host's any more, and nobody but the "
     "recipient\n"
     "opens the file; the same command gives the file again if it is lost. 'vtpmctl import' takes "
     "it\n"
     "there. What it has issued or is revoked here stays so.\n\n"
     "Examples:\n"
     "  vtpmctl host-key recipient other.pem       # on the other host\n"
     "  vtpmctl stop web && vtpmctl export web web.vtpm --to other.pem\n",
     declare_export},
    {"import", "Take a device that another host exported to this one.",
     "Once: a file is refused if the device is here, or was. It is off then, and has its "
     "identity,\n"
     "its certificates and all that it stored; PCRs are those of a TPM just powered on.\n\n"
     "Examples:\n"
     "  vtpmctl import web.vtpm && vtpmctl start web\n"
     "  vtpmctl import web.vtpm --name web-2 --owner shop\n",
     declare_import},
    {"host-key", "Replace the key that seals every state; or what other hosts seal to.",
     "'rotate' has vtpmd make a new host key, put every device under it and destroy the old one.\n"
     "Devices go on meanwhile. Back up the new key; with a credential see vtpmd(8).\n\n"
     "Examples:\n"
     "  vtpmctl host-key rotate\n"
     "  vtpmctl host-key recipient this-host.pem     # for 'vtpmctl export' on another one\n",
     declare_host_key},
    {"ca", "Show, export or set up the certificate authority of this host; revocation lists.",
     "Its root vouches for the families of the host's devices, and they for their keys: give it "
     "to\n"
     "those who verify them, and let them compare the fingerprint. The host makes a root of its "
     "own\n"
     "at the first need. 'init' makes it with a name of yours; 'init --csr' asks for a "
     "certificate\n"
     "below a root of yours, 'import' takes it. No key ever leaves vtpmd. 'crl' lists what is "
     "gone.\n\n"
     "Examples:\n"
     "  vtpmctl ca show\n"
     "  vtpmctl ca export host-root.pem\n"
     "  vtpmctl ca init --common-name 'rack 7' --organization Example --days 3650\n"
     "  vtpmctl ca init --csr host.csr && vtpmctl ca import signed-with-chain.pem\n"
     "  vtpmctl ca crl lists.pem && vtpmctl verify web-certs --root host-root.pem --crl "
     "lists.pem\n",
     declare_ca},
    {"lineage", "Show what a device descends from, and what descends from it.",
     "The family of the device, as far as this host knows it: each event made one out of "
     "another.\n\n"
     "Examples:\n"
     "  vtpmctl lineage web\n"
     "  vtpmctl lineage web --dot | dot -Tsvg >web.svg\n",
     declare_lineage},
    {"cert", "Show or export the certificates of a device, and the log of its identity.",
     "A folder for 'vtpmctl verify', or for openssl. Nothing in it is secret.\n\n"
     "Examples:\n"
     "  vtpmctl cert show web\n"
     "  vtpmctl cert export web web-certs\n"
     "  openssl verify -CAfile host-root.pem -untrusted web-certs/family.pem web-certs/iak.pem\n",
     declare_cert},
    {"verify", "Verify where a device comes from, from files alone; needs no vtpmd.",
     "The root is the one thing that is trusted: get it another way than the folder. The exit\n"
     "status says which step failed: 10 chain, 11 revocation, 12 log, 13 family, 14 generation,\n"
     "15 live.\n\n"
     "Examples:\n"
     "  vtpmctl verify web-certs --root host-root.pem\n"
     "  vtpmctl verify web-2-certs --root host-root.pem --same-family web-certs/iak.pem\n"
     "  vtpmctl verify web-certs --root host-root.pem --nonce 5ca1ab1e --proof answer\n",
     declare_verify},
    {"event-log", "Write the event log of what a device's power-on measured.",
     "It is a TCG log, crypto-agile, of devices for containers: verifiers replay it to the PCRs.\n"
     "'vtpmctl show' tells the file that holds it, to be bind-mounted into the container.\n\n"
     "Examples:\n"
     "  vtpmctl event-log web web.log && tpm2_eventlog web.log\n"
     "  vtpmctl event-log web >web.log\n",
     declare_event_log},
    {"watch", "Print what happens to devices, until interrupted.",
     "Examples:\n"
     "  vtpmctl watch\n"
     "  vtpmctl watch web -o json     # one JSON object a line\n",
     declare_watch},
    {"denied", "Show the commands that the policy refused, newest last.",
     "A read-only device refuses every command that makes, stores or uses a key or a secret; the\n"
     "client gets TPM_RC_READ_ONLY (0x156).\n\n"
     "Examples:\n"
     "  vtpmctl denied\n"
     "  vtpmctl denied golden --limit 5\n",
     declare_denied},
    {"explain", "Say what the policy decides on a command frame, and why; or what a code means.",
     "Works offline. A frame is given as hexadecimal digits, as a file (binary or text, also of\n"
     "several frames) or, with -, on standard input. Exit status 8 if a frame is refused.\n\n"
     "Examples:\n"
     "  vtpmctl explain 80010000000c0000017b0020\n"
     "  vtpmctl explain boot.frames --mode read-write -o json\n"
     "  vtpmctl explain 0x156         # what a client got\n",
     declare_explain},
    {"doctor", "Check module, vtpmd and sockets, and say how to mend what is wrong.",
     "Works also when vtpmd does not. Exit status 7 if a check failed.\n\n"
     "Examples:\n"
     "  vtpmctl doctor\n"
     "  vtpmctl doctor -o json | jq '.checks[] | select(.status == \"fail\")'\n",
     declare_doctor},
    {"version", "Show the versions of vtpmctl, vtpmd, libtpms, module and kernel.",
     "Examples:\n"
     "  vtpmctl version\n",
     declare_version},
    {"__complete", "Words for shell completion.", "", declare_complete, true},
};

}  // namespace

std::span<const Verb> verbs() { return kVerbs; }

Exit for_each_device(Session& session, const std::vector<std::string>& names,
                     const std::function<Outcome<void>(const std::string&)>& one, CheckName check) {
  for (const std::string& name : names) {
    if (auto valid = check(name); !valid) return session.report(valid.error());
  }
  Exit first = Exit::ok;
  for (const std::string& name : names) {
    auto done = one(name);
    if (done) continue;
    const Exit exit = session.report(done.error());
    if (first == Exit::ok) first = exit;
    if (exit == Exit::unreachable || exit == Exit::permission) break;
  }
  return first;
}

Outcome<void> delete_one(Session& session, const std::string& name,
                         const v1::DeleteRequest& request, Json& deleted) {
  const auto reply = session.call(request);
  if (!reply) return tl::unexpected<Failure>(reply.error());
  deleted.push_back(Json{{"name", name}, {"deleted", true}});
  session.say(fmt::format("deleted {}\n", name));
  return {};
}

Outcome<void> confirm(Session& session, const std::string& verb, const std::string& question,
                      const std::vector<std::string>& agreements) {
  Environment& environment = session.environment();
  if (!environment.in_is_terminal) {
    return failure(Exit::usage,
                   fmt::format("{} asks first, and there is no terminal to ask on", verb),
                   "add --yes");
  }
  environment.err << question << std::flush;
  std::string answer;
  std::getline(environment.in, answer);
  if (std::ranges::find(agreements, answer) != agreements.end()) return {};
  return failure(Exit::failed, "not done");
}

Exit change_each(Session& session, const std::vector<std::string>& names,
                 const std::function<Outcome<v1::Device>(const std::string&)>& one,
                 CheckName check) {
  Json changed = Json::array();
  const auto change = [&](const std::string& name) -> Outcome<void> {
    const auto device = one(name);
    if (!device) return tl::unexpected<Failure>(device.error());
    changed.push_back(to_json(*device));
    return {};
  };
  const Exit exit = for_each_device(session, names, change, check);
  if (session.json()) session.print_json(changed);
  return exit;
}

}  // namespace vtpm::ctl
