// SPDX-License-Identifier: Apache-2.0
// attach and detach as far as they go without a container, and what they read of /proc. What they
// do to a container is tested in the guest: selftests/read-only/attach.py.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "fake_vtpmd.h"

namespace vtpm::ctl {
namespace {

using ::testing::HasSubstr;

class Attach : public VtpmctlTest {
 protected:
  Attach() {
    std::filesystem::create_directory_symlink("/proc", root.path() / "proc");
    start();
    state.devices = {make_device("web"), make_device("off", v1::OFF), make_device("vm")};
    state.devices[2].set_node(v1::SOCKET);
  }
};

TEST_F(Attach, OnlyADeviceThatHasANode) {
  const std::string pid = std::to_string(::getpid());
  EXPECT_EQ(run({"attach", "nobody", "--pid", pid}), 3);
  EXPECT_EQ(state.calls, std::vector<std::string>{"Show nobody"}) << "who observes may ask";
  EXPECT_EQ(run({"attach", "off", "--pid", pid}), 4);
  EXPECT_THAT(err, HasSubstr("off is off: it has no node\n  hint: vtpmctl start off"));
  EXPECT_EQ(run({"attach", "vm", "--pid", pid}), 4);
  EXPECT_THAT(err, HasSubstr("vm has a socket"));
}

TEST_F(Attach, AProcessWithTheMountsOfTheHostIsInNoContainer) {
  for (const char* verb : {"attach", "detach"}) {
    EXPECT_EQ(run({verb, "web", "--pid", std::to_string(::getpid())}), 1);
    EXPECT_THAT(err, HasSubstr("is in no container")) << verb;
    EXPECT_THAT(err, HasSubstr("\n  hint: ")) << verb;
  }
}

TEST_F(Attach, AProcessThatHasEnded) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(run({"attach", "web", "--pid", std::to_string(child)}), 1);
  EXPECT_THAT(err, HasSubstr("there is no process " + std::to_string(child)));
}

TEST(Container, FindsNodesThatAreMountedFromADevice) {
  const std::string mountinfo =
      "36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw\n"
      "41 36 0:40 / /dev rw,nosuid master:1 propagate_from:2 - tmpfs tmpfs rw,mode=755\n"
      "57 41 0:51 /tpm0 /dev/tpm0 rw,nosuid,noexec - tmpfs vtpm:a-b rw\n"
      "58 41 0:51 /tpmrm0 /dev/tpmrm0 rw,nosuid,noexec shared:9 - tmpfs vtpm:a-b rw\n"
      "59 41 0:52 /tpm1 /dev/tpm1 rw - tmpfs vtpm:c-d rw\n"
      "60 41 0:51 /tpm0 /dev/a/tpm0 rw - tmpfs vtpm:a-b rw\n"
      "61 36 0:51 /tpm0 /srv/tpm0 rw - tmpfs vtpm:a-b rw\n"
      "62 41 0:51 /tpm0 /dev/a\\040b rw - tmpfs vtpm:a-b rw\n"
      "63 41 0:51 /tpm0 /dev/ext rw - ext4 vtpm:a-b rw\n"
      "x4 41 0:51 /tpm0 /dev/id rw - tmpfs vtpm:a-b rw\n"
      "65 41 0:51 /tpm0 /dev/short - tmpfs\n"
      "66 - tmpfs vtpm:a-b\n\n"
      "67";
  const auto nodes = mounted_nodes(mountinfo, mount_source("a-b"));
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0].mount_id, 57U);
  EXPECT_EQ(nodes[0].name, "tpm0");
  EXPECT_EQ(nodes[1].mount_id, 58U);
  EXPECT_EQ(nodes[1].name, "tpmrm0");
  EXPECT_TRUE(mounted_nodes("", mount_source("a-b")).empty());
}

TEST(Container, FindsWhoItsRootIsOutside) {
  EXPECT_EQ(outside_of_root("         0          0 4294967295\n"), 0U);
  EXPECT_EQ(outside_of_root("      1000       1000          1\n         0     100000       1000\n"),
            100000U);
  EXPECT_EQ(outside_of_root("      1000       1000          1\n"), std::nullopt);
  EXPECT_EQ(outside_of_root(""), std::nullopt);
}

TEST(Container, FindsItsCgroupOfVersion2Only) {
  EXPECT_EQ(cgroup_path("0::/machine.slice/a:b.scope\n"), "/machine.slice/a:b.scope");
  EXPECT_EQ(cgroup_path("3:memory:/x\n0::/\n"), "/");
  const auto old = cgroup_path("4:cpu,devices:/x\n0::/\n");
  ASSERT_FALSE(old);
  EXPECT_THAT(old.error().message, HasSubstr("cgroup v1"));
  for (const char* text : {"", "\n", "::\n", "0\n", "0:x:/y\n", "0::\n", "0::x\n", "0::/../x\n"})
    EXPECT_FALSE(cgroup_path(text)) << text;
}

}  // namespace
}  // namespace vtpm::ctl
