// SPDX-License-Identifier: Apache-2.0
// Device: one vTPM as the manager sees it: its record, its node, its worker, its phase.
//
// Lives on the loop's thread. Every request ends in exactly one call of its Done. The phases:
//
//   off --start--> starting --(worker ready, node registered)--> on --stop--> stopping --> off
//   on --(worker dies)--> detached --(next worker ready)--> on
//   on --park--> parked --(a command comes)--> detached
//   on, detached --(state lost, crash loop)--> failed --power_cycle--> detached, --stop--> off
//
// Source: Documentation/design/checkpoint.rst; US 12,386,650 figures 6 (read-only to read-write)
// and 7 (power-on by mode).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/checkpoint.h"
#include "device/bulletin.h"
#include "device/committer.h"
#include "device/crash_history.h"
#include "device/event_logs.h"
#include "device/fork_client.h"
#include "device/identity_maker.h"
#include "device/loop.h"
#include "device/node.h"
#include "device/seedlings.h"
#include "device/view.h"
#include "device/worker_process.h"
#include "device/write_budget.h"
#include "journal/journal.h"
#include "store/store.h"

namespace vtpm::device {

// What devices share; owned by the Manager and outlives them.
struct Host {
  Loop& loop;
  Records& store;
  Vault& vault;
  Committer& committer;
  journal::Folder& journals;
  EventLogs& event_logs;
  ForkClient& forks;
  Bulletin& bulletin;
  KernelControl* kernel;  // null: --no-kernel
  BootId boot_id{};
  std::string owner;  // this manager, in the store's versions
  std::string socket_folder;
  WriteLimit write_limit;
  // A family for a device that has no forebear. Calls back on the loop, at once or, if somebody
  // else has to sign its certificate, after seconds, unless who asked has dropped the callback by
  // then.
  using Founded = std::function<void(Result<identity::Family>)>;
  std::function<void(const std::weak_ptr<Founded>&)> found_family;
  privsep::IdentityProfile identity_profile = privsep::IdentityProfile::standard;
  Seedlings& seedlings;
  // Archive::withdraw().
  std::function<Result<store::Withdrawn>(const store::Record&)> withdraw;
  std::string lists_at;  // of ManagerOptions
  // What certified a family, up to the root.
  std::function<Result<std::vector<Bytes>>(const identity::Lineage&)> above_family;
  // A client has come to a parked device on a socket.
  std::function<void(const Uuid&)> wanted;
  // The device has a worker from now on, or has none any more.
  std::function<void(const Uuid&, bool)> has_worker;
};

class Device {
 public:
  using Done = std::function<void(Result<void>)>;

  Device(Host& host, store::Record record);
  ~Device();

  // `measured`: what the power-on extends into PCRs before anybody uses the device (event_log.h).
  void start(std::vector<Event> measured, Done done);
  void stop(bool release_number, Done done);
  // With nothing in `measured`, what was measured last is measured again.
  void power_cycle(const std::vector<Event>& measured, Done done);
  // Read-only -> read-write, off or running: a fresh identity, and PCRs, sessions and clients go
  // on. There is no way back by this call.
  void set_mode(privsep::DeviceMode mode, Done done);
  // Read-write -> read-only, off: its state and the key that sealed it are wiped, settings stay.
  Result<void> generalize();
  // Off: a clone of the snapshot takes its place, by this device's name and with its settings, and
  // this one is retired. `newer` are snapshots that go with it.
  struct Rollback {
    Uuid snapshot;
    Uuid successor;  // a new one
    std::string retired_name;
    std::vector<std::pair<Uuid, store::Version>> newer;
  };
  void roll_back(Rollback to, Done done);
  // Off: it leaves for the host that has the recipient's key (device_move.cc), as the file that
  // this gives. For one that has left, the same file again, for the same recipient.
  Result<Bytes> export_to(ByteView recipient);
  // A quarantined copy becomes a device of its own. Nothing to do for any other.
  void rebase(Done done);
  // Its state in a record of another uuid and of settings whose role says that it is never used as
  // it is: quarantined, or a snapshot. Of a device that is on, with its PCRs, unless `cold`.
  using Copied = std::function<void(Result<store::Record>)>;
  void copy(const Uuid& uuid, const store::Settings& settings, bool cold, Copied done);
  // At the manager's start: goes on from the journal if the power has not been cut, else powers on.
  void resume(Done done);
  // At the manager's start, before resume(): is this the worker that the record speaks of?
  [[nodiscard]] bool fits(const InheritedWorker& worker) const;
  // Takes it over, alive or dead, without a new epoch. It must fit.
  void adopt(InheritedWorker worker, Done done);
  // At the manager's end, if its successor is to find the worker serving.
  void leave() {
    watch_doors(false);
    node_->leave();
  }
  // At the manager's start, for a device that is off: a node that a crash left behind goes.
  void discard_stale_node();
  // The worker goes, node and journal stay; the device is `parked` then, until wake(). BUSY: a
  // client of its socket is connected.
  void rest(Done done);
  // The same at the manager's end: whoever is connected loses its connection.
  void park(Done done);
  void wake();
  // At the manager's start, instead of resume(): nothing runs until a command comes. False: it is
  // not in a state for that.
  bool stay_parked();
  // What can change while it lives: owner, park_after_s and, before its keys are made,
  // cert_profile.
  Result<void> set(const store::Settings& settings);
  // Of an identity, or they are being made.
  [[nodiscard]] bool has_keys() const {
    return has_identity_ || goal_ == Goal::identity || (goal_ == Goal::start && !read_only());
  }
  Result<void> release_number() { return node_->release_number(); }

  // Of the present power cycle; empty if nothing is measured for this device, or it is off.
  [[nodiscard]] const std::vector<Event>& measured() const { return measured_; }

  void on_kernel_event(const vtpm_event& event);

  [[nodiscard]] View view() const;
  [[nodiscard]] Phase phase() const { return phase_; }
  [[nodiscard]] bool can_park() const;
  // Of a device on a socket: what its worker answered to ask_use(). One that has not answered the
  // last time is busy, so it counts as connected.
  [[nodiscard]] std::optional<privsep::Use> use() const;
  void ask_use();
  // Also while an identity that nobody wants any more is being given up.
  [[nodiscard]] bool in_transition() const { return goal_ != Goal::none || maker_.busy(); }
  [[nodiscard]] const store::Record& record() const { return record_; }
  [[nodiscard]] const Uuid& uuid() const { return record_.uuid; }

 private:
  static constexpr std::chrono::seconds kStartLimit{60};  // emulated hosts are slow
  static constexpr std::chrono::seconds kStopLimit{30};
  static constexpr std::chrono::seconds kIdentityLimit{120};  // an RSA key among emulated ones

  // What ends the present transition.
  enum class Goal : std::uint8_t { none, start, resume, stop, park, cycle, identity };

  [[nodiscard]] bool read_only() const;
  [[nodiscard]] privsep::IdentityProfile identity_profile() const;
  // device_measured.cc
  [[nodiscard]] bool measures() const;
  // All that a power-on measures for whom `asked` for this; empty if firmware measures.
  Result<std::vector<Event>> to_measure(std::vector<Event> asked) const;
  Result<void> publish_measured();
  void recall_measured();
  void forget_measured();
  [[nodiscard]] bool is_quarantined() const {
    return record_.settings.role == store::Role::quarantined ||
           record_.settings.role == store::Role::quarantined_fresh_storage;
  }
  Result<void> check_role() const;  // may it be used as a device?
  Result<void> acquire();
  Result<std::optional<Checkpoint>> stored_checkpoint();

  // device.cc: the power.
  void begin_start();
  Result<void> power_on();
  void settle();  // starting or detached -> on, once everything is there
  bool busy_with(const Done& done, const std::function<void()>& later);
  Result<void> stay_off();
  void power_off_worker();
  void begin_power_cycle();
  Result<void> power_cycle_now();
  void take_down();  // the node goes, then off
  void finish_off();

  // device_serving.cc: what a worker gets, and what it says.
  [[nodiscard]] privsep::Start start_message() const;
  void expect_worker(bool in_failure_mode);
  // `first_run`: of a copy that goes on running.
  Result<void> launch(Checkpoint checkpoint, std::vector<UniqueFd> descriptors,
                      bool first_run = false);
  Result<void> launch_failed();
  void on_message(const privsep::Message& message);
  void on_commit(const Checkpoint& checkpoint);
  void on_committed(std::uint64_t epoch, std::uint64_t sequence,
                    const Result<store::Version>& version, const Bytes& wrapped_key);
  void note_committed(const store::Version& version, const Bytes& wrapped_key);
  void answer_commit(const privsep::Committed& committed);  // after the wait that it has to pay
  void forget_commit();                                     // nobody waits for its answer any more
  void slowed_down();
  void on_denied(const privsep::Denied& denied);
  void on_use(const privsep::Use& use);

  // device_identity.cc: from nothing to an identity.
  [[nodiscard]] Result<SecretBytes> lineage_elsewhere(const store::Record& record) const;
  [[nodiscard]] Result<Bytes> export_again(ByteView recipient) const;
  void make_identity();
  void found_family();
  Result<NewIdentity> first_identity(Result<identity::Family> founded, privsep::Manufacture& order);
  // `order`: what the worker that makes it is told.
  void make_identity(Result<NewIdentity> identity, const privsep::Manufacture& order);
  // device_copy.cc
  struct Copy {  // that waits for what the worker tells
    std::uint64_t ticket;
    Uuid uuid;
    store::Settings settings;
    Copied done;
    Loop::TimerId limit;
  };
  void ask_what_runs();
  void on_running(const privsep::Running& running);
  void end_copy(std::uint64_t ticket, Result<SecretBytes> part);
  void give_up_copies(const std::string& why);
  Result<store::Record> copy_with(const Uuid& uuid, const store::Settings& settings,
                                  SecretBytes running, bool cold);
  void pass_measured_to(const Uuid& uuid) const;
  bool goes_on_running(const std::optional<Checkpoint>& stored);
  // device_clone.cc
  Result<NewIdentity> identity_of_copy(privsep::Manufacture& order);
  Result<NewIdentity> descendant(const store::Record& source, identity::EventKind kind,
                                 const Uuid& device, std::uint64_t above,
                                 privsep::Manufacture& order);
  // device_rollback.cc
  Result<NewIdentity> identity_of_successor(privsep::Manufacture& order);
  Result<void> commit_rollback(MadeIdentity made);
  void retire(const std::string& name, const Bytes& wrapped_key);
  void on_identity(Result<MadeIdentity> made);
  Result<void> commit_identity(MadeIdentity made);
  void on_identity_committed(std::uint64_t epoch, const Result<store::Version>& version,
                             const Bytes& wrapped_key);
  void identity_failed(Error error);
  void note_read_write();

  // device_adoption.cc: a worker of an earlier manager.
  bool asked_before(const Checkpoint& checkpoint);

  // device_recovery.cc: what follows a worker's death.
  void on_died(int wait_status);
  void on_parked(int wait_status);
  void watch_doors(bool watch);
  bool listen_parked();
  void compact_journal();
  bool crash_loop(int wait_status);
  void replace_worker();  // on -> detached: another worker takes over
  Result<void> resume_warm();
  void resume_cold(Done done);
  Done or_wait(Done done);
  [[nodiscard]] bool waits_to_be_on() const { return phase_ == Phase::off && !waits_for_.empty(); }
  void power_on_later();
  void try_again(const Error& error);  // what failed may pass: resumes after a pause
  void fail_with(const std::string& reason);
  void answer_failed();  // failed: a worker without a state answers TPM_RC_FAILURE
  void answer_failed_later();

  void set_phase(Phase phase);
  void arm(std::chrono::milliseconds limit, std::function<void()> late);
  void send_away(privsep::Stop::How how, Done done);
  void finish(Result<void> result);  // answers the caller that waits for the goal

  Host& host_;
  store::Record record_;
  bool has_identity_;
  std::unique_ptr<Node> node_;
  Phase phase_ = Phase::off;
  Goal goal_ = Goal::none;
  Done done_;
  Loop::TimerId timer_ = 0;
  bool release_after_stop_ = false;

  IdentityMaker maker_;
  WorkerProcess worker_;
  bool worker_ready_ = false;     // never that of a worker in failure mode
  bool failure_mode_ = false;     // the worker has no state, and answers TPM_RC_FAILURE
  bool identity_wanted_ = false;  // the one that is being made is still asked for
  bool from_seedling_ = false;    // it goes on from one that was begun ahead
  bool identity_sent_ = false;    // the worker was told to take one: its next commit has it
  SecretBytes lineage_sent_;      // the lineage of that one
  std::shared_ptr<Host::Founded> founding_;  // for whom a family is being founded
  std::optional<Rollback> rollback_;
  bool may_stay_ = false;  // the worker was told to rest, not to park
  std::optional<privsep::Use> use_;
  bool use_asked_ = false;
  bool adopted_ = false;      // the worker was an earlier manager's
  bool registered_ = false;   // the node can be used by clients
  bool off_by_host_ = false;  // the socket's control channel said SHUTDOWN

  std::vector<Event> measured_;       // at each power-on of this power cycle, with separators
  std::vector<Event> measured_next_;  // the same of the power cycle that has been asked for
  bool measures_anew_ = false;        // the power-on was asked to measure

  std::vector<Copy> copies_;
  std::uint64_t tickets_ = 0;

  std::uint64_t denied_ = 0;
  std::uint64_t restarts_ = 0;
  WriteBudget writes_;
  bool commit_open_ = false;  // the worker waits for an answer
  WriteBudget::Time commit_due_{};
  Loop::TimerId commit_timer_ = 0;  // the answer is withheld until then
  std::uint64_t throttled_ = 0;
  std::uint64_t throttled_unsaid_ = 0;  // since the last line in the log
  std::optional<WriteBudget::Time> throttled_said_;
  std::uint64_t wakes_ = 0;
  std::optional<Error> commit_refused_;  // the store said no: not the worker's fault
  bool outcome_unknown_ = false;         // the last commit may have been applied
  std::chrono::seconds pause_{1};        // before the next attempt to resume
  bool power_on_later_ = false;          // being taken down, and tried again when it is off
  std::string waits_for_;  // why it cannot go on, or be powered on, yet; empty = nothing
  CrashHistory crashes_;
};

}  // namespace vtpm::device
