// SPDX-License-Identifier: Apache-2.0
// vtpmd: the manager. See vtpmd(8).
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "api/server.h"
#include "base/log.h"
#include "device/archive.h"
#include "device/manager.h"
#include "identity/wiping_memory.h"

namespace {

using vtpm::Error;
using vtpm::Result;

struct Options {
  vtpm::device::ManagerOptions manager;
  std::string admin_group;
  std::string observe_group;
  std::string log_level = "info";
  bool no_kernel = false;
  bool accept_store = false;
};

void describe(CLI::App& app, Options& o) {
  app.set_version_flag("--version", "vtpmd " VTPM_VERSION);
  app.add_option("--state-dir", o.manager.state_dir, "Where records and keys are kept (mode 0700)")
      ->capture_default_str();
  app.add_option("--run-dir", o.manager.run_dir, "Where sockets and the journal live")
      ->capture_default_str();
  app.add_option("--engine", o.manager.engine_path, "The vtpm-engine program")
      ->capture_default_str();
  app.add_option(
      "--engine-socket", o.manager.engine_socket,
      "Use the fork server that listens here, as vtpm-engine.service does, and leave the "
      "workers serving at the end (default: start one at RUN-DIR/engine.sock)");
  app.add_option("--host-key", o.manager.host_key,
                 "Where the 32 secret bytes are that seal every state: file:PATH, credential:NAME "
                 "or tpm:TCTI (default: file:STATE-DIR/host.key)");
  app.add_option("--old-host-key", o.manager.old_host_key,
                 "Where they were: a store that is under that key is put under the one of "
                 "--host-key");
  app.add_option(
      "--anchor", o.manager.anchor,
      "tpm:TCTI: a TPM of the host that counts the runs of vtpmd, so that an old copy of "
      "the store is refused");
  app.add_flag("--accept-store", o.accept_store,
               "Say once that the store is the right one, after an upgrade or after a backup was "
               "restored on purpose; says what it accepted and ends");
  app.add_flag("--no-kernel", o.no_kernel, "Serve socket nodes only; needs no kernel module");
  app.add_flag("--journal-anywhere", o.manager.volatile_on_any_filesystem,
               "Keep the journal in RUN-DIR even if that is not ramfs: volatile state, with its "
               "secrets, may then be swapped out. For tests");
  app.add_option("--store-quota", o.manager.quota.store_bytes,
                 "How large the store may become, in bytes or with KiB, MiB, GiB; each read-write "
                 "device takes 320 KiB of it when it is created (0: no limit)")
      ->capture_default_str()
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--devices-per-owner", o.manager.quota.devices_per_owner,
                 "How many devices one owner may have (0: no limit)")
      ->capture_default_str();
  app.add_option("--write-rate", o.manager.write_limit.per_second,
                 "How often a second each device may change its permanent state; the commands of "
                 "one that does it more often wait (0: no limit)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  app.add_option("--write-burst", o.manager.write_limit.burst,
                 "How many such changes it may make at once before that")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  using vtpm::privsep::IdentityProfile;
  const std::map<std::string, IdentityProfile> profiles{{"standard", IdentityProfile::standard},
                                                        {"ecc", IdentityProfile::ecc},
                                                        {"full", IdentityProfile::full}};
  app.add_option("--cert-profile", o.manager.identity_profile,
                 "Endorsement keys of new identities: standard (RSA-2048, P-256, P-384), ecc "
                 "(without RSA) or full (the high ranges, too) (default: standard)")
      ->transform(CLI::CheckedTransformer(profiles).description(""));
  app.add_option("--identities-ahead", o.manager.identities_ahead,
                 "How many identities with an RSA key are begun ahead of need, when there is "
                 "nothing else to do; kept in memory alone (0: none)")
      ->capture_default_str()
      ->check(CLI::Range(0U, vtpm::device::kMostSeedlings));
  app.add_option(
         "--crl-url", o.manager.lists_at,
         "URL of a folder in which the revocation lists of 'vtpmctl ca crl --folder' are "
         "published: new certificates tell it (http:// or https://, at most 100 characters)")
      ->check([](const std::string& url) {
        const bool good = url.size() <= 100 && !url.ends_with('/') &&
                          (url.starts_with("http://") || url.starts_with("https://")) &&
                          std::ranges::all_of(url, [](char c) { return c > ' ' && c <= '~'; });
        return good ? std::string() : "a URL of at most 100 characters, without / at its end";
      });
  app.add_option("--ca-sign-command", o.manager.ca_sign_command,
                 "A program that signs in the place of the certificate authority's key, which is "
                 "elsewhere; absolute path, no arguments (vtpmd(8); 'vtpmctl ca import "
                 "--external-key')")
      ->check([](const std::string& path) {
        return path.starts_with('/') ? std::string() : "an absolute path";
      });
  app.add_option("--admin-group", o.admin_group,
                 "Group that may use RUN-DIR/admin.sock (default: root alone)");
  app.add_option("--observe-group", o.observe_group,
                 "Group that may use RUN-DIR/observe.sock (default: root alone)");
  app.add_option(
         "--park-after", o.manager.parking.park_after_s,
         "Seconds without a command after which a device loses its process until the next one, on "
         "a socket if nobody is connected; 0 = never")
      ->capture_default_str()
      ->check(CLI::Range(0U, vtpm::device::kLongestParkAfter));
  app.add_option(
         "--max-active", o.manager.parking.max_active,
         "Park the least recently used devices when more than this many have a process; 0 = no "
         "limit")
      ->capture_default_str();
  app.add_option("--log-level", o.log_level, "error, warning, notice, info or debug")
      ->capture_default_str()
      ->check(CLI::IsMember({"error", "warning", "notice", "info", "debug"}));
  app.footer(
      "Exit status: 0 stopped as asked; 64 usage; 69 something it needs is not there; "
      "70 it failed.\nSee vtpmd(8) and vtpmctl(1).");
}

vtpm::log::Level level_of(const std::string& name) {
  using vtpm::log::Level;
  if (name == "error") return Level::error;
  if (name == "warning") return Level::warning;
  if (name == "notice") return Level::notice;
  if (name == "debug") return Level::debug;
  return Level::info;
}

// This process holds the keys of every device, and the certificate authority's: no dump, no swap
// where limits allow, and nothing left in what is freed.
void protect_memory() {
  if (!vtpm::identity::wipe_what_openssl_frees())
    vtpm::log::warning("memory that OpenSSL frees is not wiped");
  const rlimit no_core{0, 0};
  (void)::setrlimit(RLIMIT_CORE, &no_core);
  (void)::prctl(PR_SET_DUMPABLE, 0);
  (void)::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

// SIGTERM and SIGINT end the loop by way of a descriptor: no code runs in a signal handler.
Result<vtpm::UniqueFd> signals_as_descriptor() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  (void)::signal(SIGPIPE, SIG_IGN);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
    return vtpm::fail_errno("cannot block signals", errno);
  vtpm::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return vtpm::fail_errno("cannot make a signal descriptor", errno);
  return fd;
}

// A person's word for a store that cannot speak for itself; never a part of serving.
Result<void> accept_store(const Options& options) {
  VTPM_TRY(const auto accepted,
           vtpm::device::Archive::accept_store({.state_dir = options.manager.state_dir,
                                                .host_key = options.manager.host_key,
                                                .old_host_key = options.manager.old_host_key,
                                                .anchor = options.manager.anchor}));
  for (const std::string& name : accepted.taken)
    vtpm::log::notice("accepted as it is in the store", {{"device", name}});
  for (const std::string& name : accepted.refused)
    vtpm::log::warning("not accepted: its state does not open, or its record was changed",
                       {{"device", name}});
  vtpm::log::notice("the store is accepted: start vtpmd without --accept-store");
  return {};
}

Result<void> serve(const Options& options) {
  VTPM_TRY(const vtpm::UniqueFd signals, signals_as_descriptor());
  // Before any thread: the fork server is a child of a process with one thread.
  VTPM_TRY(auto manager, vtpm::device::Manager::open(options.manager));
  VTPM_CHECK(manager->loop().watch(signals.get(), [&] {
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof info) > 0) {
    }
    vtpm::log::info("stopping");
    ::sd_notify(0, "STOPPING=1");
    manager->stop();
  }));
  VTPM_TRY(const auto server,
           vtpm::api::Server::start(*manager, {.run_dir = options.manager.run_dir,
                                               .admin_group = options.admin_group,
                                               .observe_group = options.observe_group,
                                               .libtpms_version = VTPM_LIBTPMS_VERSION}));
  ::sd_notify(0, "READY=1");
  vtpm::log::info("ready", {{"run_dir", options.manager.run_dir}});
  return manager->run();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{
      "vtpmd manages virtual TPM 2.0 devices: their records, their nodes and the workers that "
      "serve them."};
  describe(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  options.manager.kernel = !options.no_kernel;
  // tpm2-tss would log what it sends, secrets included, if somebody's environment says so.
  (void)::setenv("TSS2_LOG", "all+NONE", 1);
  vtpm::log::set_program("vtpmd");
  vtpm::log::set_level(level_of(options.log_level));
  protect_memory();
  const auto served = options.accept_store ? accept_store(options) : serve(options);
  if (!served) {
    const Error& error = served.error();
    vtpm::log::error(error.message, {{"hint", error.hint}});
    return error.code == vtpm::ErrorCode::unavailable || error.code == vtpm::ErrorCode::not_found
               ? EX_UNAVAILABLE
               : EX_SOFTWARE;
  }
  return EX_OK;
}
