// SPDX-License-Identifier: Apache-2.0
// doctor on hosts that are made of files.
#include <gmock/gmock.h>

#include <fstream>

#include "fake_vtpmd.h"

namespace vtpm::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Doctor : public VtpmctlTest {
 protected:
  void put(const std::filesystem::path& file, const std::string& text = "") {
    std::filesystem::create_directories((root.path() / file).parent_path());
    std::ofstream(root.path() / file) << text;
  }
  void put_dir(const std::filesystem::path& path) {
    std::filesystem::create_directories(root.path() / path);
  }
  void healthy_host() {
    put_dir("sys/class/tpm");
    put("sys/module/vtpm/version", "0.1.0\n");
    put_dir("run/systemd/system");
    for (const char* unit : {"vtpmd", "vtpm-engine"}) {
      put(std::string("lib/systemd/system/") + unit + ".service");
      put(std::string("sys/fs/cgroup/system.slice/") + unit + ".service/cgroup.procs", "123\n");
    }
    for (const char* name : {"admin.sock", "observe.sock"}) {
      if (std::filesystem::exists(dir.path() / name)) {
        (void)::chmod((dir.path() / name).c_str(), 0660);
      }
    }
  }
  // The status of a local check, after run({"doctor", "-o", "json"}).
  std::string status(const std::string& name, const std::string& source = "local") {
    const Json report = json();
    for (const Json& check : report["checks"]) {
      if (check["name"] == name && check["source"] == source) return check["status"];
    }
    return "absent";
  }
  std::string remedy(const std::string& name) {
    const Json report = json();
    for (const Json& check : report["checks"]) {
      if (check["name"] == name) return check["remedy"];
    }
    return "absent";
  }
  int doctor() { return run({"doctor", "-o", "json"}); }
};

TEST_F(Doctor, WorksOnABareHost) {
  EXPECT_EQ(run({"doctor"}), 7);
  EXPECT_EQ(err, "");
  EXPECT_THAT(out, HasSubstr("vtpmd is not reachable"));
  EXPECT_THAT(out, HasSubstr("mend: "));
  EXPECT_EQ(doctor(), 7);
  EXPECT_EQ(json()["vtpmd_reachable"], false);
  EXPECT_EQ(json()["healthy"], false);
  EXPECT_EQ(status("kernel"), "fail");
  EXPECT_EQ(status("module"), "fail");
  EXPECT_EQ(status("vtpmd"), "fail");
}

TEST_F(Doctor, TellsAnInstalledModuleFromNone) {
  doctor();
  EXPECT_THAT(remedy("module"), HasSubstr("dkms"));
  put("lib/modules/6.12.4-test/updates/dkms/vtpm.ko.xz");
  doctor();
  EXPECT_THAT(remedy("module"), HasSubstr("modprobe vtpm"));
  put("sys/module/vtpm/version", "0.1.0\n");
  doctor();
  EXPECT_EQ(status("module"), "ok");
  EXPECT_THAT(remedy("control-node"), HasSubstr("udev"));
  put("dev/vtpm");
  doctor();
  EXPECT_EQ(status("control-node"), "fail") << "a plain file";
}

TEST_F(Doctor, LooksAtTheUnit) {
  put_dir("run/systemd/system");
  doctor();
  EXPECT_THAT(remedy("unit"), HasSubstr("install"));
  put("etc/systemd/system/vtpmd.service");
  doctor();
  EXPECT_THAT(remedy("unit"), HasSubstr("systemctl start"));
  put("sys/fs/cgroup/system.slice/vtpmd.service/cgroup.procs", "1\n");
  doctor();
  EXPECT_EQ(status("unit"), "ok");
}

TEST_F(Doctor, LooksAtTheUnitOfTheEngine) {
  healthy_host();
  std::filesystem::remove(root.path() / "lib/systemd/system/vtpm-engine.service");
  doctor();
  EXPECT_EQ(status("engine-unit"), "fail");
  EXPECT_THAT(remedy("engine-unit"), HasSubstr("install"));
  put("etc/systemd/system/vtpm-engine.service");
  put("sys/fs/cgroup/system.slice/vtpm-engine.service/cgroup.procs");
  doctor();
  EXPECT_EQ(status("engine-unit"), "fail");
  EXPECT_THAT(remedy("engine-unit"), HasSubstr("systemctl start vtpm-engine"));
  EXPECT_EQ(status("unit"), "ok");
  put("sys/fs/cgroup/system.slice/vtpm-engine.service/cgroup.procs", "1\n");
  doctor();
  EXPECT_EQ(status("engine-unit"), "ok");
}

TEST_F(Doctor, WarnsOfKernelsThatMakeKeys) {
  doctor();
  EXPECT_EQ(status("kernel-hmac"), "absent");
  put("boot/config-6.12.4-test", "CONFIG_A=y\nCONFIG_TCG_TPM2_HMAC=y\n");
  doctor();
  EXPECT_EQ(status("kernel-hmac"), "warning");
  EXPECT_THAT(remedy("kernel-hmac"), HasSubstr("--compat linux-hmac"));
}

TEST_F(Doctor, ShowsTheChecksOfVtpmdToo) {
  start();
  healthy_host();
  state.checks.resize(1);
  state.checks[0].set_name("store");
  state.checks[0].set_status(v1::DoctorReply::OK);
  state.checks[0].set_finding("SQLite");
  EXPECT_EQ(doctor(), 7) << "there is no /dev/vtpm";
  EXPECT_EQ(status("store", "vtpmd"), "ok");
  EXPECT_EQ(status("admin-socket"), "ok");
  EXPECT_EQ(status("observe-socket"), "ok");
  EXPECT_EQ(status("control-node"), "fail");
  EXPECT_EQ(json()["vtpmd_reachable"], true);
}

TEST_F(Doctor, VtpmdWithoutAModuleIsAWarningOnly) {
  start();
  healthy_host();
  std::filesystem::remove_all(root.path() / "sys/module");
  EXPECT_EQ(doctor(), 0) << out;
  EXPECT_EQ(status("module"), "warning");
  EXPECT_EQ(json()["healthy"], true);
  EXPECT_EQ(run({"doctor"}), 0);
  EXPECT_THAT(out, HasSubstr("0 failed, 2 warnings\n"));

  state.checks.resize(1);
  state.checks[0].set_name("store");
  state.checks[0].set_status(v1::DoctorReply::FAIL);
  state.checks[0].set_remedy("make room");
  EXPECT_EQ(run({"doctor"}), 7) << "a failure that only vtpmd knows of";
  EXPECT_THAT(out, HasSubstr("mend: make room\n"));
}

TEST_F(Doctor, FindsSocketsThatAreOpenToAll) {
  start();
  healthy_host();
  ASSERT_EQ(::chmod((dir.path() / "admin.sock").c_str(), 0666), 0);
  EXPECT_EQ(doctor(), 7);
  EXPECT_EQ(status("admin-socket"), "fail");
  EXPECT_THAT(remedy("admin-socket"), HasSubstr("chmod"));
  ASSERT_EQ(::chmod(dir.path().c_str(), 0777), 0);
  doctor();
  EXPECT_EQ(status("run-dir"), "fail");
}

TEST_F(Doctor, SurvivesAVtpmdThatFails) {
  start();
  healthy_host();
  state.verdict = {grpc::StatusCode::INTERNAL, "the store is on fire"};
  EXPECT_EQ(run({"doctor"}), 7);
  EXPECT_THAT(out, HasSubstr("the store is on fire"));
}

TEST_F(Doctor, LooksAtTheSocketThatIsChosen) {
  EXPECT_EQ(run({"doctor", "-o", "json", "--socket", "/nowhere/x.sock"}), 7);
  EXPECT_EQ(status("x-socket"), "fail");
  EXPECT_EQ(status("admin-socket"), "absent");
  EXPECT_EQ(status("run-dir"), "fail") << "the directory of that socket";
}

TEST_F(Doctor, PlainFileForASocket) {
  std::ofstream(dir.path() / "admin.sock") << "x";
  EXPECT_EQ(doctor(), 7);
  EXPECT_EQ(status("admin-socket"), "fail");
  EXPECT_THAT(out, Not(HasSubstr("\"ok\", \"admin")));
}

}  // namespace
}  // namespace vtpm::ctl
