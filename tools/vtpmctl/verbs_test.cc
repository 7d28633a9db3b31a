// SPDX-License-Identifier: Apache-2.0
// Each verb, as a person and as a script sees it.
#include <gmock/gmock.h>

#include <fstream>

#include "fake_vtpmd.h"
#include "identity/authority.h"
#include "identity/event.h"
#include "identity/revocation_list.h"

namespace vtpm::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class Verbs : public VtpmctlTest {
 protected:
  void SetUp() override { start(); }
};

TEST_F(Verbs, ListShowsATable) {
  state.devices = {make_device("a-long-name"), make_device("b", v1::FAILED)};
  EXPECT_EQ(run({"list"}), 0) << err;
  EXPECT_EQ(out,
            "NAME         STATE   MODE        FOR        NODE       DENIED  OWNER\n"
            "a-long-name  on      read-write  container  /dev/tpm3  0       shop\n"
            "b            failed  read-write  container  kernel     0       shop\n");
  EXPECT_EQ(err, "");
  EXPECT_EQ(run({"-q", "list"}), 0);
  EXPECT_EQ(out, "a-long-name\nb\n");
}

TEST_F(Verbs, ListGivesAnArray) {
  state.devices = {make_device("a")};
  EXPECT_EQ(run({"list", "-o", "json"}), 0) << err;
  ASSERT_TRUE(json().is_array());
  const Json device = json()[0];
  std::vector<std::string> fields;
  for (const auto& [key, value] : device.items()) fields.push_back(key);
  EXPECT_THAT(fields,
              ElementsAre("name", "uuid", "owner", "role", "kind", "mode", "node", "state",
                          "failure", "device_path", "rm_device_path", "dev_major", "dev_minor",
                          "devrm_major", "devrm_minor", "socket_path", "linux_hmac", "epoch",
                          "generation", "sequence", "worker_pid", "denied", "restarts", "throttled",
                          "wakes", "waits_for", "command_timeout_ms", "detach_timeout_ms",
                          "park_after_s", "cert_profile", "has_identity", "taken", "event_log"));
  EXPECT_EQ(device["state"], "on");
  EXPECT_EQ(device["sequence"].get<std::uint64_t>(), (std::uint64_t{1} << 53) + 1);
}

TEST_F(Verbs, EmptyListTeaches) {
  EXPECT_EQ(run({"list"}), 0);
  EXPECT_EQ(out, "");
  EXPECT_THAT(err, HasSubstr("vtpmctl create"));
  EXPECT_EQ(run({"list", "-o", "json"}), 0);
  EXPECT_EQ(json(), Json::array());
  EXPECT_EQ(run({"list", "-q"}), 0);
  EXPECT_EQ(err, "");
}

TEST_F(Verbs, ListFetchesAllPages) {
  for (int i = 0; i < 1203; ++i) state.devices.push_back(make_device(fmt::format("d{:05}", i)));
  EXPECT_EQ(run({"list", "-q"}), 0) << err;
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1203);
  EXPECT_THAT(state.calls, ElementsAre("List ", "List d00499", "List d00999"));
}

TEST_F(Verbs, ShowInBothFormats) {
  state.devices = {make_device("web")};
  state.devices[0].set_has_identity(true);
  EXPECT_EQ(run({"show", "web"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("device            /dev/tpm3 (10:224)\n"));
  EXPECT_THAT(out, HasSubstr("identity          of its own\n"));
  EXPECT_THAT(out, Not(HasSubstr("failure")));
  EXPECT_EQ(run({"show", "web", "-o", "json"}), 0);
  EXPECT_EQ(json()["device_path"], "/dev/tpm3");
}

TEST_F(Verbs, ShowsAFailureAndTheWayOut) {
  state.devices = {make_device("web", v1::FAILED)};
  state.devices[0].set_failure("its volatile state is lost");
  terminal = true;
  EXPECT_EQ(run({"show", "web", "--no-color"}), 0);
  EXPECT_THAT(out, HasSubstr("failure           its volatile state is lost\n"));
  EXPECT_THAT(err, HasSubstr("vtpmctl power-cycle web"));
}

TEST_F(Verbs, CreateSendsWhatIsAsked) {
  state.devices = {make_device("web")};
  EXPECT_EQ(run({"create", "web", "--mode", "read-only", "--for", "vm", "--owner", "o w", "--node",
                 "socket", "--socket-path", "/s", "--compat", "linux-hmac", "--command-timeout",
                 "2m", "--detach-timeout", "500ms", "--start"}),
            0)
      << err;
  const v1::CreateRequest& request = state.created;
  EXPECT_EQ(request.mode(), v1::READ_ONLY);
  EXPECT_EQ(request.kind(), v1::VM);
  EXPECT_EQ(request.owner(), "o w");
  EXPECT_EQ(request.node(), v1::SOCKET);
  EXPECT_EQ(request.socket_path(), "/s");
  EXPECT_TRUE(request.linux_hmac());
  EXPECT_EQ(request.command_timeout_ms(), 120'000U);
  EXPECT_EQ(request.detach_timeout_ms(), 500U);
  EXPECT_TRUE(request.start());
}

TEST_F(Verbs, CreateHasDefaultsAndPrintsTheNodes) {
  state.devices = {make_device("web")};
  EXPECT_EQ(run({"create", "web"}), 0) << err;
  v1::CreateRequest plain;  // vtpmd, or the template, knows the rest
  plain.set_name("web");
  EXPECT_EQ(state.created.SerializeAsString(), plain.SerializeAsString());
  EXPECT_EQ(out,
            "created web: read-write, for container, on\n"
            "  device            /dev/tpm3\n"
            "  resource manager  /dev/tpmrm3\n");
  EXPECT_EQ(run({"create", "web", "-o", "json"}), 0);
  EXPECT_EQ(json()["name"], "web");
  EXPECT_EQ(run({"create", "web", "-q"}), 0);
  EXPECT_EQ(out, "/dev/tpm3\n");
}

TEST_F(Verbs, CreateMakesSeveral) {
  state.devices = {make_device("a"), make_device("c")};
  EXPECT_EQ(run({"create", "a", "b", "c", "--owner", "shop", "--start", "-q"}), 3);
  EXPECT_EQ(out, "/dev/tpm3\n/dev/tpm3\n");
  EXPECT_THAT(err, HasSubstr("vtpmctl: no device 'b'"));
  EXPECT_THAT(state.calls, ElementsAre("Create a", "Create b", "Create c"));
  EXPECT_EQ(state.created.owner(), "shop");
  EXPECT_EQ(run({"create", "a", "c", "-o", "json"}), 0) << err;
  ASSERT_EQ(json().size(), 2U);
  EXPECT_EQ(json()[1]["name"], "c");
  EXPECT_EQ(run({"create", "a", "b", "-o", "json"}), 3);
  ASSERT_EQ(json().size(), 1U) << "an array also if one remains";
  EXPECT_EQ(run({"create", "b", "-o", "json"}), 3);
  EXPECT_EQ(out, "");

  state.calls.clear();
  EXPECT_EQ(run({"create", "a", "b c"}), 2) << "nothing is made if a name is none";
  EXPECT_EQ(run({"create", "a", "c", "--node", "socket", "--socket-path", "/s"}), 2);
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(Verbs, BindMountHintIsForPeopleOnly) {
  state.devices = {make_device("web")};
  EXPECT_EQ(run({"start", "web"}), 0);
  EXPECT_EQ(err, "");
  terminal = true;
  EXPECT_EQ(run({"start", "web"}), 0);
  EXPECT_THAT(err, HasSubstr("--device /dev/tpm3:/dev/tpm0 --device /dev/tpmrm3:/dev/tpmrm0"));
  state.devices[0].set_device_path("/dev/tpm3;rm -rf ~");
  EXPECT_EQ(run({"start", "web"}), 0);
  EXPECT_EQ(err, "") << "a path that is none must not be offered for pasting";
}

TEST_F(Verbs, StartSocketDevice) {
  state.devices = {make_device("vm", v1::OFF)};
  state.devices[0].set_node(v1::SOCKET);
  state.devices[0].set_socket_path("/run/vtpm/vm.sock");
  EXPECT_EQ(run({"start", "vm"}), 0);
  EXPECT_EQ(out,
            "started vm\n"
            "  socket            /run/vtpm/vm.sock\n"
            "  control socket    /run/vtpm/vm.sock.ctrl\n");
}

TEST_F(Verbs, SeveralNamesGoOnAfterAFailure) {
  state.devices = {make_device("a"), make_device("c")};
  EXPECT_EQ(run({"start", "a", "b", "c", "-o", "json"}), 3);
  ASSERT_EQ(json().size(), 2U);
  EXPECT_EQ(json()[1]["name"], "c");
  EXPECT_THAT(err, HasSubstr("vtpmctl: no device 'b'"));
  EXPECT_THAT(state.calls, ElementsAre("Start a", "Start b", "Start c"));
}

TEST_F(Verbs, StopAndDeletePassTheirFlags) {
  state.devices = {make_device("a")};
  EXPECT_EQ(run({"stop", "a"}), 0);
  EXPECT_EQ(out, "stopped a\n");
  EXPECT_EQ(run({"stop", "a", "--release", "-o", "json"}), 0);
  EXPECT_EQ(json()[0]["name"], "a");
  EXPECT_EQ(run({"delete", "a"}), 0);
  EXPECT_EQ(out, "deleted a\n");
  EXPECT_EQ(run({"delete", "a", "--force", "--release", "-o", "json"}), 0);
  EXPECT_EQ(json(), Json::parse(R"([{"name":"a","deleted":true}])"));
  EXPECT_THAT(state.calls, ElementsAre("Stop a false", "Stop a true", "Delete a false false",
                                       "Delete a true true"));
}

TEST_F(Verbs, SayWhyANumberIsHeld) {
  state.devices = {make_device("a")};
  terminal = true;
  EXPECT_EQ(run({"stop", "a"}), 0);
  EXPECT_THAT(err, HasSubstr("vtpmctl release a"));
  EXPECT_EQ(run({"delete", "a"}), 0);
  EXPECT_THAT(err, HasSubstr("vtpmctl release --all"));
  EXPECT_EQ(run({"delete", "a", "--release"}), 0);
  EXPECT_EQ(err, "");
}

TEST_F(Verbs, SetModeAsksForTheModeAndSaysWhatItIs) {
  state.devices = {make_device("a")};
  state.devices[0].set_mode(v1::READ_WRITE);
  EXPECT_EQ(run({"set-mode", "a", "read-write"}), 0) << err;
  EXPECT_EQ(out, "a is read-write, on\n");
  EXPECT_THAT(state.calls, ElementsAre("SetMode a READ_WRITE"));
  EXPECT_EQ(run({"set-mode", "a", "read-write", "-o", "json"}), 0);
  EXPECT_EQ(json()["mode"], "read-write");
  EXPECT_NE(run({"set-mode", "a", "writable"}), 0);
  EXPECT_NE(run({"set-mode", "a"}), 0);
}

TEST_F(Verbs, CreateAndCloneTakeASource) {
  state.devices = {make_device("a"), make_device("b")};
  EXPECT_EQ(run({"create", "a", "--from", "golden", "--owner", ""}), 0) << err;
  EXPECT_EQ(state.created.from(), "golden");
  EXPECT_EQ(state.created.mode(), v1::MODE_UNSPECIFIED);
  EXPECT_TRUE(state.created.has_owner());
  EXPECT_EQ(run({"create", "a", "--from", "golden", "--socket-path", "/s"}), 0) << err;
  EXPECT_EQ(run({"clone", "golden", "a", "b", "--start", "-o", "json"}), 0) << err;
  EXPECT_EQ(json().size(), 2U);
  EXPECT_TRUE(state.cloned.start());
  EXPECT_EQ(state.cloned.mode(), v1::MODE_UNSPECIFIED);
  EXPECT_FALSE(state.cloned.has_owner());
  EXPECT_EQ(
      run({"clone", "golden", "a", "--mode", "read-only", "--owner", "o", "--socket-path", "/s"}),
      0)
      << err;
  EXPECT_EQ(state.cloned.mode(), v1::READ_ONLY);
  EXPECT_EQ(state.cloned.owner(), "o");
  EXPECT_THAT(out, HasSubstr("created a: "));
  EXPECT_THAT(state.calls, ElementsAre("Create a", "Create a", "Clone golden a", "Clone golden b",
                                       "Clone golden a"));
  state.calls.clear();
  EXPECT_EQ(run({"create", "a", "--from", ""}), 2) << "an empty variable of a script";
  EXPECT_EQ(run({"clone", "golden"}), 2);
  EXPECT_EQ(run({"clone", "", "a"}), 2);
  EXPECT_EQ(run({"clone", "golden", "a", "b", "--socket-path", "/s"}), 2);
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(Verbs, TemplatesAreMadeListedShownAndDeleted) {
  state.devices = {make_device("a"), make_device("golden", v1::OFF)};
  state.devices[1].set_role(v1::TEMPLATE);
  state.devices[1].set_mode(v1::READ_ONLY);
  EXPECT_EQ(run({"template", "create", "golden", "--for", "vm"}), 0) << err;
  EXPECT_EQ(state.created.role(), v1::TEMPLATE);
  EXPECT_EQ(state.created.kind(), v1::VM);
  EXPECT_THAT(out, HasSubstr("created golden: template, for container, off\n"));
  EXPECT_EQ(run({"template", "list"}), 0);
  EXPECT_EQ(out,
            "NAME    FOR        NODE    OWNER\n"
            "golden  container  kernel  shop\n");
  EXPECT_EQ(run({"template", "list", "-o", "json"}), 0);
  ASSERT_EQ(json().size(), 1U);
  EXPECT_EQ(json()[0]["role"], "template");
  EXPECT_EQ(run({"list", "-q"}), 0);
  EXPECT_EQ(out, "a\n") << "a template is no device to use";
  EXPECT_EQ(run({"template", "show", "golden"}), 0);
  EXPECT_THAT(out, HasSubstr("role              template\n"));
  state.calls.clear();
  EXPECT_EQ(run({"template", "show", "a"}), 3);
  EXPECT_EQ(run({"template", "delete", "a"}), 3) << "it is in use";
  EXPECT_THAT(state.calls, ElementsAre("Show a", "Show a"));
  EXPECT_EQ(run({"template", "delete", "golden"}), 0) << err;
  EXPECT_EQ(out, "deleted golden\n");
  state.devices = {};
  EXPECT_EQ(run({"template", "list"}), 0);
  EXPECT_THAT(err, HasSubstr("vtpmctl template create"));
  state.calls.clear();
  for (const auto& line : std::vector<std::vector<std::string>>{
           {"template"},
           {"template", "start", "golden"},
           {"template", "create"},
           {"template", "create", "golden", "--start"},
           {"template", "create", "golden", "--mode", "read-write"},
           {"template", "list", "golden"},
           {"template", "show", "a", "b"},
           {"template", "delete"},
           {"template", "delete", "golden", "--for", "vm"}})
    EXPECT_EQ(run(line), 2) << ::testing::PrintToString(line);
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(Verbs, SnapshotsAreTakenListedShownAndDeleted) {
  state.devices = {make_device("web"), make_device("web@a", v1::OFF), make_device("web-2@a")};
  for (const std::size_t i : {1U, 2U}) {
    state.devices[i].set_role(v1::SNAPSHOT);
    state.devices[i].set_taken_ns(1'700'000'000'123'456'000);
  }
  EXPECT_EQ(run({"snapshot", "create", "web@a"}), 0) << err;
  EXPECT_EQ(out, "took web@a\n");
  EXPECT_THAT(state.calls, ElementsAre("Snapshot web@a"));
  EXPECT_EQ(run({"snapshot", "list"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("web-2@a  2023-11-1"));
  EXPECT_EQ(run({"snapshot", "list", "web", "-q"}), 0) << err;
  EXPECT_EQ(out, "web@a\n");
  EXPECT_EQ(run({"snapshot", "list", "web", "-o", "json"}), 0) << err;
  ASSERT_EQ(json().size(), 1U);
  EXPECT_EQ(json()[0]["role"], "snapshot");
  EXPECT_EQ(json()[0]["taken"], "2023-11-14T22:13:20.123456000Z");
  EXPECT_EQ(run({"snapshot", "list", "nobody"}), 3);
  EXPECT_EQ(run({"list", "-q"}), 0);
  EXPECT_EQ(out, "web\n") << "a snapshot is no device to use";
  EXPECT_EQ(run({"snapshot", "show", "web@a"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("role              snapshot\n"));
  EXPECT_THAT(out, HasSubstr("taken             2023-11-1"));
  EXPECT_THAT(out, Not(HasSubstr("identity")));
  EXPECT_EQ(run({"snapshot", "delete", "web@a", "web-2@a"}), 0) << err;
  EXPECT_EQ(out, "deleted web@a\ndeleted web-2@a\n");
  state.devices[1].set_role(v1::DEVICE);
  EXPECT_EQ(run({"snapshot", "delete", "web@a"}), 3);
  EXPECT_EQ(run({"clone", "web@a", "copy"}), 3) << "the fake one has no copy";
  EXPECT_EQ(state.cloned.source(), "web@a");
  state.devices = {};
  EXPECT_EQ(run({"snapshot", "list"}), 0);
  EXPECT_THAT(err, HasSubstr("vtpmctl snapshot create"));
  state.calls.clear();
  for (const auto& line : std::vector<std::vector<std::string>>{{"snapshot"},
                                                                {"snapshot", "start", "web@a"},
                                                                {"snapshot", "create"},
                                                                {"snapshot", "create", "web"},
                                                                {"snapshot", "create", "web@a b"},
                                                                {"snapshot", "list", "web@a"},
                                                                {"snapshot", "list", "a", "b"},
                                                                {"snapshot", "show", "a@a", "b@b"},
                                                                {"snapshot", "delete", "web"},
                                                                {"show", "web@a"}})
    EXPECT_EQ(run(line), 2) << ::testing::PrintToString(line);
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(Verbs, RollbackWantsTheNameTyped) {
  state.devices = {make_device("web")};
  EXPECT_EQ(run({"rollback", "web@a"}), 2) << "nobody to ask";
  terminal = true;
  for (const char* answer : {"\n", "y\n", "web@a\n"}) {
    typed = answer;
    EXPECT_EQ(run({"rollback", "web@a", "--delete-newer"}), 1) << answer;
  }
  EXPECT_TRUE(state.calls.empty());
  EXPECT_THAT(err, HasSubstr("newer snapshots too"));
  typed = "web\n";
  EXPECT_EQ(run({"rollback", "web@a"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("rolled back web to web@a: on\n  device            /dev/tpm3\n"));
  v1::RollbackRequest plain;
  plain.set_snapshot("web@a");
  EXPECT_EQ(state.rolled_back.SerializeAsString(), plain.SerializeAsString());
  terminal = false;
  EXPECT_EQ(run({"rollback", "web@a", "--delete-newer", "--stop", "--start", "--release", "--yes",
                 "-o", "json"}),
            0)
      << err;
  EXPECT_EQ(json()["name"], "web");
  EXPECT_TRUE(state.rolled_back.delete_newer() && state.rolled_back.stop() &&
              state.rolled_back.start() && state.rolled_back.release_number());
  EXPECT_EQ(run({"rollback", "web", "--yes"}), 2);
}

TEST_F(Verbs, ListTellsRolesThatAreNotInUse) {
  state.devices = {make_device("a", v1::OFF), make_device("b", v1::OFF)};
  state.devices[0].set_role(v1::QUARANTINED);
  state.devices[1].set_role(v1::RETIRED);
  EXPECT_EQ(run({"list"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("\na     quarantined  "));
  EXPECT_THAT(out, HasSubstr("\nb     retired      "));
}

TEST_F(Verbs, GeneralizeWantsTheNameTyped) {
  state.devices = {make_device("web", v1::OFF)};
  state.devices[0].set_mode(v1::READ_ONLY);
  EXPECT_EQ(run({"generalize", "web"}), 2) << "nobody to ask";
  terminal = true;
  for (const char* answer : {"", "\n", "y\n", "yes\n", "webs\n"}) {
    typed = answer;
    EXPECT_EQ(run({"generalize", "web"}), 1) << answer;
    EXPECT_TRUE(state.calls.empty()) << answer;
  }
  EXPECT_THAT(err, HasSubstr("lost for good"));
  typed = "web\n";
  EXPECT_EQ(run({"generalize", "web"}), 0) << err;
  EXPECT_EQ(out, "generalized web: read-only, off\n");
  terminal = false;
  EXPECT_EQ(run({"generalize", "web", "--yes", "-o", "json"}), 0) << err;
  EXPECT_EQ(json()["mode"], "read-only");
  EXPECT_EQ(state.calls.size(), 2U);
}

TEST_F(Verbs, ParkSaysWhatBecameOfIt) {
  state.devices = {make_device("a", v1::PARKED), make_device("b")};
  state.devices[0].set_wakes(7);
  EXPECT_EQ(run({"park", "a", "b"}), 0) << err;
  EXPECT_EQ(out, "parked a: parked\nparked b: on\n") << "a command woke b again";
  EXPECT_THAT(state.calls, ElementsAre("Park a", "Park b"));
  EXPECT_EQ(run({"park", "a", "-o", "json"}), 0);
  EXPECT_EQ(json()[0]["state"], "parked");
  EXPECT_EQ(run({"show", "a"}), 0);
  EXPECT_THAT(out, HasSubstr("woken             7 times\n"));
}

TEST_F(Verbs, LineageDrawsATree) {
  identity::Event birth{.device = *Uuid::parse("90b9df6d-8f0c-4e2e-8a2f-5b7c6d1e0f42")};
  identity::Event clone{.kind = identity::EventKind::clone,
                        .device = *Uuid::parse("cdc337d7-8f55-4ec0-ac2e-2d83d873e31d"),
                        .parent = birth.device,
                        .generation = 2};
  clone.parent_lineage = *identity::extended({}, *identity::digest_of(birth));
  state.lineage.set_name("web-2");
  state.lineage.set_uuid(clone.device.to_string());
  for (const auto& event : {clone, birth}) state.lineage.add_events(identity::to_json(event));
  auto* const member = state.lineage.add_members();
  member->set_uuid(clone.device.to_string());
  member->set_name("web-2");
  EXPECT_EQ(run({"lineage", "web-2"}), 0) << err;
  EXPECT_EQ(out,
            "90b9df6d-8f0c-4e2e-8a2f-5b7c6d1e0f42 (not on this host)  create, generation 1, "
            "1970-01-01T00:00:00Z\n"
            "`-- * web-2  clone, generation 2, 1970-01-01T00:00:00Z\n");
  EXPECT_THAT(state.calls, ElementsAre("Lineage web-2"));
  EXPECT_EQ(run({"lineage", "web-2", "--dot"}), 0);
  EXPECT_THAT(out, AllOf(HasSubstr("digraph"), HasSubstr("->"), HasSubstr("web-2")));
  EXPECT_EQ(run({"lineage", "web-2", "-o", "json"}), 0);
  EXPECT_EQ(json()["events"][1]["kind"], "clone");
  EXPECT_EQ(json()["events"][0]["name"], nullptr);
  state.lineage.add_events("{}");
  EXPECT_EQ(run({"lineage", "web-2"}), 1);
}

TEST_F(Verbs, SetChangesWhatIsNamed) {
  state.devices = {make_device("a"), make_device("b")};
  EXPECT_EQ(run({"set", "a", "b", "--park-after", "10m"}), 0) << err;
  EXPECT_EQ(out, "set a\nset b\n");
  EXPECT_THAT(state.calls, ElementsAre("Set a", "Set b"));
  EXPECT_EQ(state.changed.park_after_s(), 600U);
  EXPECT_FALSE(state.changed.has_owner());
  EXPECT_EQ(run({"set", "a", "--park-after", "never", "--owner", "shop"}), 0);
  EXPECT_TRUE(state.changed.has_park_after_s());
  EXPECT_EQ(state.changed.park_after_s(), 0U);
  EXPECT_EQ(state.changed.owner(), "shop");
  EXPECT_EQ(run({"set", "a", "--park-after", "default", "-o", "json"}), 0);
  EXPECT_TRUE(state.changed.park_after_default());
  EXPECT_EQ(json()[0]["name"], "a");
  EXPECT_TRUE(json()[0]["park_after_s"].is_null());
  EXPECT_FALSE(state.changed.has_cert_profile());
  EXPECT_EQ(run({"set", "a", "--cert-profile", "full"}), 0);
  EXPECT_EQ(state.changed.cert_profile(), v1::FULL);
  EXPECT_EQ(run({"set", "a", "--cert-profile", "default"}), 0);
  EXPECT_TRUE(state.changed.has_cert_profile());
  EXPECT_EQ(state.changed.cert_profile(), v1::AS_VTPMD);
  EXPECT_EQ(run({"set", "a", "--owner", ""}), 0) << "nobody's";
  EXPECT_TRUE(state.changed.has_owner());
  state.calls.clear();
  EXPECT_EQ(run({"set", "a"}), 2);
  for (const char* bad : {"31d", "10ms", "-1s", "m", "1m1s", "soon", ""})
    EXPECT_EQ(run({"set", "a", "--park-after", bad}), 2) << bad;
  EXPECT_THAT(state.calls, ::testing::IsEmpty());
  state.devices[0].set_park_after_s(0);
  EXPECT_EQ(run({"show", "a"}), 0);
  EXPECT_THAT(out, HasSubstr("parked after      never\n"));
}

TEST_F(Verbs, CreateTakesATimeForParking) {
  state.devices = {make_device("a")};
  EXPECT_EQ(run({"create", "a", "--park-after", "90"}), 0) << err;
  EXPECT_EQ(state.created.park_after_s(), 90U);
  EXPECT_EQ(run({"create", "a"}), 0);
  EXPECT_FALSE(state.created.has_park_after_s());
  EXPECT_EQ(run({"create", "a", "--node", "socket", "--park-after", "80s"}), 0) << err;
  EXPECT_EQ(state.created.park_after_s(), 80U);
}

TEST_F(Verbs, CreateTakesAProfileOfCertificates) {
  state.devices = {make_device("a")};
  EXPECT_EQ(run({"create", "a", "--cert-profile", "ecc"}), 0) << err;
  EXPECT_EQ(state.created.cert_profile(), v1::ECC);
  EXPECT_EQ(run({"create", "a", "--cert-profile", "rsa"}), 2);
  state.devices[0].set_cert_profile(v1::FULL);
  EXPECT_EQ(run({"show", "a"}), 0);
  EXPECT_THAT(out, HasSubstr("certificates      full\n"));
  EXPECT_EQ(run({"list", "-o", "json"}), 0);
  EXPECT_EQ(json()[0]["cert_profile"], "full");
}

TEST_F(Verbs, PowerCycleAsksFirst) {
  state.devices = {make_device("a")};
  EXPECT_EQ(run({"power-cycle", "a"}), 2) << "nobody to ask";
  EXPECT_TRUE(state.calls.empty());
  terminal = true;
  for (const char* answer : {"", "\n", "n\n", "maybe\n"}) {
    typed = answer;
    EXPECT_EQ(run({"power-cycle", "a"}), 1);
    EXPECT_TRUE(state.calls.empty()) << answer;
  }
  typed = "y\n";
  EXPECT_EQ(run({"power-cycle", "a"}), 0) << err;
  EXPECT_EQ(out, "power-cycled a: on\n");
  terminal = false;
  EXPECT_EQ(run({"power-cycle", "a", "--yes", "-o", "json"}), 0);
  EXPECT_EQ(json()["state"], "on");
  EXPECT_EQ(state.calls.size(), 2U);
}

TEST_F(Verbs, ReleaseOneOrAll) {
  EXPECT_EQ(run({"release", "a"}), 0);
  EXPECT_EQ(out, "2 numbers may be used again\n");
  EXPECT_EQ(run({"release", "--all", "-o", "json"}), 0);
  EXPECT_EQ(json(), Json::parse(R"({"released":2})"));
  EXPECT_THAT(state.calls, ElementsAre("Release a", "Release "));
  EXPECT_EQ(run({"release"}), 2);
  EXPECT_EQ(run({"release", "a", "--all"}), 2);
  EXPECT_EQ(run({"release", ""}), 2) << "an empty variable of a script must not release all";
  EXPECT_EQ(state.calls.size(), 2U);
}

TEST_F(Verbs, HostKeyRotate) {
  state.devices.resize(3);
  EXPECT_EQ(run({"host-key", "rotate"}), 0);
  EXPECT_THAT(out, HasSubstr("devices under it: 3"));
  EXPECT_EQ(run({"host-key", "rotate", "-o", "json"}), 0);
  EXPECT_EQ(json(), Json::parse(R"({"devices":3})"));
  EXPECT_EQ(run({"host-key"}), 2);
  EXPECT_EQ(run({"host-key", "show"}), 2);
  EXPECT_THAT(state.calls, ElementsAre("RotateHostKey", "RotateHostKey"));
}

TEST_F(Verbs, CaShowAndExport) {
  state.root.set_pem("-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n");
  state.root.set_subject("CN=root\x1b");
  state.root.set_sha256("\xab\x01");
  state.root.set_not_before(1'762'178'531);
  state.root.set_not_after(253402300799);
  state.root.set_families(3);
  EXPECT_EQ(run({"ca", "show"}), 0) << err;
  EXPECT_EQ(out,
            "subject      CN=root\\x1b\nsha256       AB:01\nvalid from   2025-11-03\n"
            "valid until  no end\nfamilies     3 certified since vtpmd started\n"
            "key          in the store, sealed under the host key\n");
  EXPECT_EQ(run({"ca", "show", "-o", "json"}), 0);
  EXPECT_EQ(json()["sha256"], "ab01");
  EXPECT_EQ(json()["not_before"], "2025-11-03");
  EXPECT_EQ(json()["not_after"], nullptr);
  EXPECT_EQ(json()["families"], 3);
  EXPECT_EQ(json()["key_is_outside"], false);
  EXPECT_EQ(json()["certificate"], state.root.pem());
  state.root.set_key_is_outside(true);
  EXPECT_EQ(run({"ca", "show"}), 0);
  EXPECT_THAT(out, HasSubstr("outside of vtpmd: its --ca-sign-command signs"));

  EXPECT_EQ(run({"ca", "export"}), 0);
  EXPECT_EQ(out, state.root.pem());
  const std::string file = root.path() / "root.pem";
  EXPECT_EQ(run({"ca", "export", file}), 0);
  EXPECT_THAT(out, HasSubstr("sha256  AB:01\n"));
  std::ifstream written(file);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(written), {}), state.root.pem());

  EXPECT_EQ(run({"ca", "export", root.path() / "no/such/folder"}), 1);
  EXPECT_THAT(err, HasSubstr("No such file"));
  EXPECT_EQ(run({"ca"}), 2);
  EXPECT_EQ(run({"ca", "delete"}), 2);
  EXPECT_EQ(run({"ca", "show", file}), 2);
}

TEST_F(Verbs, ExportAndImportMoveADevice) {
  const std::string key = root.path() / "key.pem", file = root.path() / "web.vtpm";
  EXPECT_EQ(run({"host-key", "recipient", key}), 0) << err;
  EXPECT_EQ(run({"host-key", "recipient"}), 0);
  EXPECT_EQ(out, "a key\n");
  EXPECT_EQ(run({"export", "web", file, "--to", key}), 0) << err;
  EXPECT_EQ(run({"import", file, "--name", "web-2", "--owner", ""}), 0) << err;
  EXPECT_EQ(out, "imported web-2\n");
  EXPECT_EQ(run({"import", file}), 0) << err;
  EXPECT_THAT(state.calls, ElementsAre("Recipient", "Recipient", "Export web to a key\n",
                                       "Import 5 as web-2 of ", "Import 5 as  of the same"));
  EXPECT_EQ(run({"export", "web", file}), 2);
  EXPECT_EQ(run({"export", "web", file, "--to", root.path() / "none"}), 1);
  EXPECT_EQ(run({"export", "web", root.path() / "no/such", "--to", key}), 1);
  EXPECT_THAT(err, HasSubstr("the device has left"));
  EXPECT_EQ(run({"import", root.path() / "none"}), 1);
  EXPECT_EQ(run({"host-key", "rotate", key}), 2);
}

TEST_F(Verbs, CaCrlWritesListsAsPemAndByIssuer) {
  const identity::Authority authority = *identity::Authority::create();
  const auto issuer = identity::Issuer::load(authority.private_key(), authority.chain().front());
  const auto der = identity::issue(*issuer, {});
  ASSERT_TRUE(der);
  auto* const list = state.lists.add_lists();
  list->set_issuer_key("\xab\x01");
  list->set_der(std::string(as_text(*der)));
  state.lists.set_number(7);
  EXPECT_EQ(run({"ca", "crl"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("BEGIN X509 CRL"));
  const std::string file = root.path() / "lists.pem", folder = root.path() / "published";
  EXPECT_EQ(run({"ca", "crl", file, "--folder", folder, "--device", "web", "--valid-days", "30"}),
            0)
      << err;
  EXPECT_THAT(out, HasSubstr("1 list, number 7\n"));
  std::ifstream written(folder + "/ab01.crl", std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(written), {}), as_text(*der));
  state.lists.set_elsewhere(2);
  EXPECT_EQ(run({"ca", "crl", "-o", "json"}), 0);
  EXPECT_EQ(json()["elsewhere"], 2);
  EXPECT_THAT(err, HasSubstr("2 revoked certificates are in no list"));
  EXPECT_THAT(state.calls,
              ElementsAre("RevocationLists  7", "RevocationLists web 30", "RevocationLists  7"));
  EXPECT_EQ(run({"ca", "show", "--device", "web"}), 2);
  EXPECT_EQ(run({"ca", "crl", "--valid-days", "0"}), 2);
}

TEST_F(Verbs, CaInitAndImportSayWhatIsAskedFor) {
  state.root.set_subject("CN=root");
  state.root.add_between("pem");
  EXPECT_EQ(
      run({"ca", "init", "--common-name", "rack 7", "--organization", "Example", "--days", "30"}),
      0)
      << err;
  EXPECT_THAT(out, HasSubstr("below this root, by 1 certificate\n"));
  const std::string file = root.path() / "host.csr";
  EXPECT_EQ(run({"ca", "init", "--common-name", "host", "--csr", file}), 0) << err;
  EXPECT_EQ(run({"ca", "import", file}), 0) << err;
  EXPECT_EQ(run({"ca", "import", file, "--keep-families", "-o", "json"}), 0) << err;
  EXPECT_EQ(json()["between"], Json::array({"pem"}));
  EXPECT_THAT(state.calls, ElementsAre("CaInit rack 7,Example,30", "CaRequest host",
                                       "CaImport a request\n", "CaImport a request\n keep"));
  for (const auto& wrong :
       std::vector<std::vector<std::string>>{{"ca", "import"},
                                             {"ca", "init", file},
                                             {"ca", "init", "--csr", file, "--days", "3"},
                                             {"ca", "show", "--days", "3"},
                                             {"ca", "export", "--keep-families"},
                                             {"ca", "init", "--days", "36501"}})
    EXPECT_EQ(run(wrong), 2) << wrong.back();
  EXPECT_EQ(run({"ca", "import", root.path() / "no-such-file"}), 1);
}

v1::DeniedCommand make_denied() {
  v1::DeniedCommand denied;
  denied.set_name("golden");
  denied.set_time_ns(1'762'178'531'000'000'000);
  denied.set_command_code(0x131);
  denied.set_command("TPM2_CreatePrimary");
  denied.set_reason("makes a key");
  denied.set_response_code(0x156);
  denied.set_suppressed(7);
  return denied;
}

TEST_F(Verbs, DeniedInBothFormats) {
  state.denied = {make_denied(), v1::DeniedCommand()};
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  EXPECT_EQ(run({"denied", "golden", "--limit", "5"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("2025-11-03 14:02:11  golden  TPM2_CreatePrimary  TPM_RC_READ_ONLY  "
                             "makes a key (and 7 more)\n"));
  EXPECT_THAT(out, HasSubstr("(malformed header)"));
  EXPECT_EQ(run({"denied", "-o", "json"}), 0);
  EXPECT_EQ(json()[0]["response"], "TPM_RC_READ_ONLY");
  EXPECT_EQ(json()[0]["time"], "2025-11-03T14:02:11.000000000Z");
  EXPECT_EQ(json()[0]["suppressed"], 7);
  EXPECT_THAT(state.calls, ElementsAre("Denied golden 5", "Denied  20"));
  state.denied.clear();
  EXPECT_EQ(run({"denied"}), 0);
  EXPECT_EQ(out, "");
  EXPECT_THAT(err, HasSubstr("no command was refused"));
  for (const char* limit : {"0", "-1", "x", "10001", "99999999999"}) {
    EXPECT_EQ(run({"denied", "--limit", limit}), 2) << limit;
  }
}

TEST_F(Verbs, WatchPrintsOneLineAnEvent) {
  v1::Event changed;
  changed.set_type(v1::Event::STATE_CHANGED);
  *changed.mutable_device() = make_device("web");
  v1::Event denied;
  denied.set_type(v1::Event::DENIED_COMMAND);
  *denied.mutable_denied() = make_denied();
  state.events = {changed, denied};
  EXPECT_EQ(run({"watch", "web"}), 6) << "vtpmd ended it";
  EXPECT_THAT(err, HasSubstr("going down"));
  EXPECT_THAT(out, HasSubstr("  web               on: /dev/tpm3\n"));
  EXPECT_THAT(
      out, HasSubstr("  golden            denied TPM2_CreatePrimary: makes a key (and 7 more)\n"));
  EXPECT_EQ(run({"watch", "-o", "json"}), 6);
  std::istringstream lines(out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(Json::parse(line)["type"], "state_changed");
  EXPECT_EQ(Json::parse(line)["denied"], nullptr);
  std::getline(lines, line);
  EXPECT_EQ(Json::parse(line)["denied"]["command_code"], 0x131);
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(Verbs, WatchReportsHowItEnded) {
  v1::Event event;
  event.set_type(v1::Event::CREATED);
  *event.mutable_device() = make_device("web");
  state.events = {event};
  state.verdict = {grpc::StatusCode::NOT_FOUND, "no device 'web'"};
  EXPECT_EQ(run({"watch", "web"}), 3);
  EXPECT_THAT(out, HasSubstr("created: read-write"));
  EXPECT_THAT(err, HasSubstr("no device 'web'"));
}

TEST_F(Verbs, VersionInBothFormats) {
  state.version.set_vtpmd("9.8");
  state.version.set_libtpms("0.9.2");
  EXPECT_EQ(run({"version"}), 0);
  EXPECT_THAT(out, HasSubstr("vtpmctl   " VTPM_VERSION "\n"));
  EXPECT_THAT(out, HasSubstr("module    not loaded\n"));
  EXPECT_EQ(run({"version", "-o", "json"}), 0);
  EXPECT_EQ(json()["libtpms"], "0.9.2");
  stop();
  EXPECT_EQ(run({"version", "-o", "json"}), 6);
  EXPECT_EQ(json()["vtpmctl"], VTPM_VERSION);
  EXPECT_EQ(json()["vtpmd"], nullptr);
}

TEST_F(Verbs, CompletionGivesNamesOnly) {
  state.devices = {make_device("$(reboot)"), make_device("a"), make_device("x y")};
  EXPECT_EQ(run({"__complete", "devices"}), 0);
  EXPECT_EQ(out, "a\ton\n") << "a shell would expand the others";
  EXPECT_EQ(run({"__complete", "verbs"}), 0);
  EXPECT_THAT(out, HasSubstr("power-cycle\t"));
  EXPECT_THAT(out, Not(HasSubstr("__complete")));
  EXPECT_EQ(run({"__complete", "options", "create"}), 0);
  EXPECT_THAT(out, HasSubstr("--detach-timeout\t"));
  EXPECT_THAT(out, HasSubstr("--socket\t"));
  stop();
  EXPECT_EQ(run({"__complete", "devices"}), 6);
  EXPECT_EQ(err, "") << "no noise on a command line that is being typed";
}

TEST_F(Verbs, ColorsAreForTerminalsThatWantThem) {
  state.devices = {make_device("a")};
  EXPECT_EQ(run({"list"}), 0);
  EXPECT_THAT(out, Not(HasSubstr("\033")));
  terminal = true;
  EXPECT_EQ(run({"list"}), 0);
  EXPECT_THAT(out, HasSubstr("\033[1mNAME\033[0m"));
  EXPECT_EQ(run({"list", "--no-color"}), 0);
  EXPECT_THAT(out, Not(HasSubstr("\033")));
  variables["NO_COLOR"] = "1";
  EXPECT_EQ(run({"list"}), 0);
  EXPECT_THAT(out, Not(HasSubstr("\033")));
}

TEST_F(Verbs, HostileTextDoesNotReachTheTerminal) {
  const std::string hostile = "x\033]0;title\007\n\u202e";
  v1::Device device = make_device("web", v1::FAILED);
  device.set_owner(hostile);
  device.set_failure(hostile);
  device.set_socket_path(hostile);
  device.set_uuid(hostile);
  state.devices = {device};
  v1::DeniedCommand denied = make_denied();
  denied.set_reason(hostile);
  denied.set_command(hostile);
  state.denied = {denied};
  v1::Event event;
  event.set_type(v1::Event::STATE_CHANGED);
  *event.mutable_device() = device;
  state.events = {event};
  state.checks.emplace_back();
  state.checks[0].set_name(hostile);
  state.checks[0].set_finding(hostile);
  state.checks[0].set_remedy(hostile);
  state.version.set_vtpmd(hostile);
  terminal = true;
  variables["NO_COLOR"] = "1";
  for (const char* format : {"table", "json"}) {
    for (const std::vector<std::string>& verb :
         std::vector<std::vector<std::string>>{{"list"},
                                               {"show", "web"},
                                               {"start", "web"},
                                               {"stop", "web"},
                                               {"denied"},
                                               {"watch"},
                                               {"doctor"},
                                               {"version"},
                                               {"create", "web"}}) {
      auto arguments = verb;
      arguments.insert(arguments.end(), {"-o", format});
      run(arguments);
      for (const std::string& text : {out, err}) {
        EXPECT_EQ(text.find('\033'), std::string::npos) << verb[0] << format;
        EXPECT_EQ(text.find('\007'), std::string::npos) << verb[0] << format;
        EXPECT_EQ(text.find("\u202e"), std::string::npos) << verb[0] << format;
      }
      EXPECT_NE(out.find("title") != std::string::npos, verb[0] == "stop" && format[0] == 't')
          << verb[0] << format << out;
    }
  }
}

}  // namespace
}  // namespace vtpm::ctl
