// SPDX-License-Identifier: Apache-2.0
// Manager: every device of this host. What the API calls.
//
// The public calls may come from any thread and block until done; the work happens on the loop's
// thread, which run() is. Owns the store, the journals' folder, the fork server and the devices.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "device/archive.h"
#include "device/device.h"
#include "device/parking.h"
#include "device/quota.h"
#include "device/side_thread.h"
#include "device/sign_command.h"
#include "identity/root_description.h"

namespace vtpm::device {

struct ManagerOptions {
  std::string state_dir = "/var/lib/vtpm";
  std::string run_dir = "/run/vtpm";
  std::string engine_path = "/usr/libexec/vtpm-engine";
  // Of a fork server that somebody else runs; workers serve on when this manager ends. Empty:
  // run_dir/engine.sock, of a server that the manager starts if it finds none, and ends.
  std::string engine_socket;
  std::string host_key;                     // as in key_source.h
  std::string old_host_key;                 // where the host key was, see archive.h
  std::string anchor;                       // "tpm:TCTI": a TPM that counts the runs
  bool kernel = true;                       // false: socket nodes only
  bool volatile_on_any_filesystem = false;  // the journal may be swapped: for tests
  Quota quota;
  WriteLimit write_limit;  // of each device
  ParkingOptions parking;
  std::string ca_sign_command;  // absolute path; empty: none (sign_command.h)
  std::string lists_at;         // URL of the folder of revocation lists: certificates tell it
  privsep::IdentityProfile identity_profile = privsep::IdentityProfile::standard;
  std::uint32_t identities_ahead = 4;  // at most (seedlings.h); 0: none
};

// One finding of a check; what `vtpmctl doctor` prints.
struct Finding {
  enum class Status : std::uint8_t { ok = 1, warning = 2, failure = 3 };
  std::string name;
  Status status = Status::ok;
  std::string text;
  std::string remedy;
};

struct Versions {
  std::string module;  // empty: not loaded
  std::uint32_t abi_major = 0, abi_minor = 0;
  std::string store;
  std::string kernel;
};

class Manager {
 public:
  // Opens everything and starts the fork server. Call it before the process has threads.
  static Result<std::unique_ptr<Manager>> open(ManagerOptions options);
  ~Manager();

  // Takes over the workers that serve, brings other devices that were on back, then serves until
  // stop(). At the end it parks every device, unless the fork server is somebody else's.
  Result<void> run();
  void stop();  // any thread; also what a signal handler's descriptor ends in

  Result<View> create(const store::Settings& settings, bool start);
  // What a person changes of a device's settings; nothing = as it is.
  struct Changes {
    std::optional<std::string> owner;
    std::optional<std::optional<std::uint32_t>> park_after_s;
    std::optional<std::uint8_t> cert_profile{};  // refused if the device has its keys
  };
  Result<View> set(const std::string& device, const Changes& changes);
  Result<View> start(const std::string& device, std::vector<Event> measured = {});
  Result<View> stop(const std::string& device, bool release_number);
  // With nothing in `measured`, what was measured last is measured again.
  Result<View> power_cycle(const std::string& device, std::vector<Event> measured = {});
  // Of a device that is on, as verifiers read it.
  Result<Bytes> event_log(const std::string& device);
  Result<View> set_mode(const std::string& device, privsep::DeviceMode mode);
  // Takes a device's identity from it: it is read-only then (Device::generalize).
  Result<View> generalize(const std::string& device);
  // What a device that is made from `source` begins with: all of its settings but what is its own.
  // Read-write. Of a device that has an identity only if it may be copied (US 12,386,650 figure 4).
  enum class Source : std::uint8_t { without_identity, any };
  Result<store::Settings> settings_from(const std::string& source, Source allowed);
  // A device with these settings, and with a copy of the source's state that is rebased before
  // anybody uses it. Without an identity in the source there is nothing to copy, and this is
  // create(). If the rebase fails, the copy stays, quarantined, until rebase() or remove().
  struct CloneOptions {
    bool fresh_storage = false;
    bool cold = false;  // without the PCRs of a source that is on
    bool start = false;
  };
  Result<View> clone(const std::string& source, const store::Settings& settings,
                     const CloneOptions& options);
  Result<View> rebase(const std::string& device);
  // `name`: DEVICE@SNAPSHOT. What the device has stored up to its last reply, on or off.
  Result<View> snapshot(const std::string& name);
  // A clone of the snapshot takes its device's place (Device::roll_back). Refused if the device is
  // in use or has newer snapshots, unless `stop` and `delete_newer` say otherwise.
  struct Return {
    bool delete_newer = false;
    bool stop = false;
    bool start = false;
    bool release_number = false;  // of the node that the retired device had
  };
  Result<View> rollback(const std::string& snapshot, const Return& wanted);
  Result<View> park(const std::string& device);
  // Refused if it is on or has snapshots, unless `force`: then it is stopped, and those go, too.
  Result<void> remove(const std::string& device, bool release_number, bool force);
  // The number of a destroyed node, or all of them; how many were released.
  Result<std::uint32_t> release(const std::string& device);
  // The root of the host's certificate authority, which is made if nobody has needed it yet.
  struct Root {
    identity::RootDescription description;
    // PEM: from the certificate that issues for families up to the one below the root; none if
    // that is the root itself.
    std::vector<std::string> between;
    std::uint64_t families = 0;  // that it certified since this manager began
    bool requested = false;      // a request waits for its certificate
    bool key_is_outside = false;
  };
  Result<Root> root_certificate();
  // As those of Archive; of certificates PEM.
  Result<Root> make_authority(const identity::IssuerSubject& subject, std::uint32_t days);
  Result<std::string> request_authority(const identity::IssuerSubject& subject);
  // `external_key`: ManagerOptions::ca_sign_command has the key of the first certificate.
  Result<Root> import_authority(const std::string& pem, bool keep_families, bool external_key);
  // The public key of what other hosts seal to this one, PEM.
  Result<std::string> recipient();
  // Device::export_to(), for a recipient in PEM; and what that gave, on the host of the recipient.
  Result<Bytes> export_device(const std::string& device, const std::string& recipient);
  Result<View> import_device(const Bytes& file, const std::string& name,
                             const std::optional<std::string>& owner);
  // Revocation lists of all who issued certificates on this host, or of those above one device.
  struct Lists {
    struct One {
      Bytes issuer_key;  // its key identifier
      Bytes der;
      std::size_t entries = 0;
    };
    std::uint64_t number = 0;   // CRLNumber of each
    std::size_t elsewhere = 0;  // revoked certificates of which this host has not the issuer's key
    std::vector<One> lists;
  };
  Result<Lists> revocation_lists(const std::string& device, std::uint32_t days);
  // Where a device comes from, with what shows it; certificates are PEM.
  struct Descent {
    struct Member {
      Uuid uuid;
      std::string name;
    };
    Uuid uuid;
    std::string name;
    struct Certificate {
      std::string name;  // "ek-rsa-2048", "ek-p-256", "iak"
      std::string pem;
    };
    std::string root;
    std::string family;                     // and, after it, what is between it and the root
    std::vector<Certificate> certificates;  // of its keys
    std::string log;                        // a line of JSON for each event, signed
    // Of all of its family on this host, each once, as JSON; and who they are.
    std::vector<std::string> events;
    std::vector<Member> members;
  };
  Result<Descent> lineage(const std::string& device);
  // How many records are under the new key.
  Result<std::size_t> rotate_host_key();
  Result<View> show(const std::string& device);
  // By name: devices and templates, or snapshots.
  Result<std::vector<View>> list(const std::string& after, std::size_t limit,
                                 bool snapshots = false);
  Result<std::vector<Refusal>> refusals(const std::string& device, std::size_t limit);
  // Takes as long as a check of every page of the store, on the caller's thread.
  Result<std::vector<Finding>> examine();
  Versions versions();
  Bulletin& bulletin() { return bulletin_; }
  Loop& loop() { return *loop_; }

 private:
  explicit Manager(ManagerOptions options) : options_(std::move(options)) {}
  Result<void> open_all();
  void make_seedlings();
  Result<void> load_devices();
  void load_damaged(const store::Store::Entry& entry);
  Result<void> remove_record(const Uuid& uuid);
  Result<View> remove_damaged(const std::string& name_or_uuid);
  void forget(const View& view);  // the record is gone
  void bring_back();
  void bring_back(Device& device);
  std::set<Uuid> adopt_workers();
  void on_fork_server_lost();
  void shut_down();
  void on_kernel_events();
  void after_overflow();

  // Runs `work` on the loop; it must call the completion it gets exactly once, now or later.
  // In manager_on_loop.h.
  template <class T>
  Result<T> on_loop(std::function<void(std::function<void(Result<T>)>)> work);
  Result<Device*> find(const std::string& name_or_uuid);
  [[nodiscard]] Holdings holdings(const std::string& owner) const;
  Result<Device*> add(const store::Record& record);
  // A record of these settings, with a copy of the device's state (Device::copy).
  void add_copy(Device& device, const store::Settings& settings, bool cold,
                std::function<void(Result<View>)> done);
  Result<Descent> descent_of(const Device& device);
  Result<Root> describe_authority();
  [[nodiscard]] identity::SignOutside sign_outside() const;
  void found_family(const std::weak_ptr<Host::Founded>& wanted);
  Result<std::optional<identity::Lineage>> lineage_of(const Uuid& uuid);
  Result<std::vector<Bytes>> above_family(const identity::Lineage& lineage);
  struct Revocations;
  Result<Revocations> collect_revocations(const std::string& device);
  // manager_snapshot.cc
  // Also those that are damaged.
  [[nodiscard]] std::vector<View> snapshots_of(const std::string& device) const;
  std::uint64_t now_of(const store::Record& snapshot);
  struct WayBack {
    Device* device = nullptr;
    Uuid snapshot;
    std::vector<Uuid> newer;
  };
  Result<WayBack> way_back(const std::string& snapshot, bool delete_newer);
  void go_back(const std::string& snapshot, const Return& wanted,
               std::function<void(Result<View>)> done);
  Result<View> install(const Device& retired, const Uuid& successor, const std::vector<Uuid>& gone);
  [[nodiscard]] std::string retired_name(const std::string& name) const;
  Result<void> check_socket_paths(const store::Settings& settings) const;
  Result<void> apply(Device& device, const Changes& changes);
  using Change = std::function<void(Device&, Device::Done)>;
  Result<View> change(const std::string& device, Change change);

  ManagerOptions options_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<SignCommand> sign_command_;
  std::unique_ptr<SideThread> side_;
  std::unique_ptr<Archive> archive_;
  std::unique_ptr<Committer> committer_;
  std::optional<journal::Folder> journals_;
  std::optional<EventLogs> event_logs_;
  std::unique_ptr<ForkClient> forks_;
  std::optional<KernelControl> kernel_;
  Bulletin bulletin_;
  std::unique_ptr<IdentityMaker> seedling_maker_;
  std::unique_ptr<Seedlings> seedlings_;
  std::unique_ptr<Host> host_;
  std::map<Uuid, std::unique_ptr<Device>> devices_;
  std::unique_ptr<Parking> parking_;
  std::map<Uuid, View> damaged_;  // records that are there and cannot be used
  std::map<std::string, Uuid> names_;
  std::uint64_t families_ = 0;  // that were founded
  bool stopping_ = false;
  std::mutex store_examination_;
  Result<void> outcome_;  // of run()
};

}  // namespace vtpm::device
