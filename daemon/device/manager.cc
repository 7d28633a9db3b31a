// SPDX-License-Identifier: Apache-2.0
#include "device/manager.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "device/examination.h"
#include "device/manager_on_loop.h"

namespace vtpm::device {
namespace {

Result<void> make_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return fail_errno("cannot make the folder " + path, errno);
  if (::chmod(path.c_str(), mode) != 0)
    return fail_errno("cannot set the mode of the folder " + path, errno);
  return {};
}

Result<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return fail(ErrorCode::unavailable, "cannot read " + path);
  return line;
}

Result<BootId> read_boot_id() {
  VTPM_TRY(const std::string text, first_line("/proc/sys/kernel/random/boot_id"));
  const auto uuid = Uuid::parse(text);
  if (!uuid) return fail(ErrorCode::corrupt, "the kernel's boot id is not a UUID");
  return uuid->bytes;
}

}  // namespace

Result<std::unique_ptr<Manager>> Manager::open(ManagerOptions options) {
  std::unique_ptr<Manager> manager(new Manager(std::move(options)));
  VTPM_CHECK(manager->open_all());
  return manager;
}

Manager::~Manager() {
  if (sign_command_) sign_command_->end();
  devices_.clear();  // they point into everything else
}

Result<void> Manager::open_all() {
  VTPM_TRY(loop_, Loop::make());
  VTPM_CHECK(make_folder(options_.state_dir, 0700));
  VTPM_CHECK(make_folder(options_.run_dir, 0755));
  const std::string sockets = options_.run_dir + "/sockets";
  VTPM_CHECK(make_folder(sockets, 0700));

  const std::string journal = options_.run_dir + "/journal";
  VTPM_CHECK(make_folder(journal, 0700));
  if (!options_.volatile_on_any_filesystem) VTPM_CHECK(journal::Folder::mount_ramfs(journal));
  VTPM_TRY(auto folder, journal::Folder::open(journal, options_.volatile_on_any_filesystem));
  journals_.emplace(std::move(folder));
  VTPM_TRY(auto event_logs, EventLogs::open(options_.run_dir));
  event_logs_.emplace(std::move(event_logs));

  VTPM_TRY(sign_command_, SignCommand::make(options_.ca_sign_command));
  side_ = std::make_unique<SideThread>(*loop_);
  VTPM_TRY(archive_, Archive::open({.state_dir = options_.state_dir,
                                    .host_key = options_.host_key,
                                    .old_host_key = options_.old_host_key,
                                    .anchor = options_.anchor,
                                    .lists_at = options_.lists_at,
                                    .sign_outside = sign_outside()}));
  committer_ = std::make_unique<Committer>(archive_->records(), archive_->vault());
  loop_->set_round_end([this] { committer_->flush(); });

  const bool external = !options_.engine_socket.empty();
  forks_ = std::make_unique<ForkClient>(
      *loop_,
      ForkClient::Options{
          .engine_path = options_.engine_path,
          .socket_path = external ? options_.engine_socket : options_.run_dir + "/engine.sock",
          .external = external,
          .open_control = options_.kernel},
      [this] { on_fork_server_lost(); });
  VTPM_CHECK(forks_->start());
  if (options_.kernel) {
    VTPM_TRY(auto control, KernelControl::take(forks_->take_control(), forks_->control_error()));
    kernel_.emplace(std::move(control));
    VTPM_CHECK(loop_->watch(kernel_->fd(), [this] { on_kernel_events(); }));
  }

  parking_ =
      std::make_unique<Parking>(*loop_, kernel_ ? &*kernel_ : nullptr, devices_, options_.parking);

  make_seedlings();

  VTPM_TRY(const BootId boot_id, read_boot_id());
  const auto machine = first_line("/etc/machine-id");
  host_ = std::make_unique<Host>(Host{
      .loop = *loop_,
      .store = archive_->records(),
      .vault = archive_->vault(),
      .committer = *committer_,
      .journals = *journals_,
      .event_logs = *event_logs_,
      .forks = *forks_,
      .bulletin = bulletin_,
      .kernel = kernel_ ? &*kernel_ : nullptr,
      .boot_id = boot_id,
      .owner = machine ? *machine : "this host",
      .socket_folder = sockets,
      .write_limit = options_.write_limit,
      .found_family = [this](const std::weak_ptr<Host::Founded>& wanted) { found_family(wanted); },
      .identity_profile = options_.identity_profile,
      .seedlings = *seedlings_,
      .withdraw = [this](const store::Record& record) { return archive_->withdraw(record); },
      .lists_at = options_.lists_at,
      .above_family = [this](const identity::Lineage& lineage) { return above_family(lineage); },
      .wanted = [this](const Uuid& uuid) { parking_->wanted(uuid); },
      .has_worker = [this](const Uuid& uuid, bool has) { parking_->has_worker(uuid, has); }});
  return load_devices();
}

void Manager::make_seedlings() {
  seedling_maker_ = std::make_unique<IdentityMaker>(*loop_, *forks_);
  seedlings_ = std::make_unique<Seedlings>(
      *loop_, options_.identities_ahead,
      Seedlings::Work{.begin =
                          [this](privsep::IdentityProfile profile, IdentityMaker::Done done) {
                            return seedling_maker_->start_ahead(profile, std::move(done));
                          },
                      .cancel = [this](const std::string& why) { seedling_maker_->cancel(why); },
                      .is_quiet =
                          [this] {
                            return std::ranges::none_of(devices_, [](const auto& device) {
                              return device.second->in_transition();
                            });
                          }});
}

Result<void> Manager::load_devices() {
  return for_each_entry(archive_->records(), [this](store::Store::Entry& entry) {
    if (!entry.record) return load_damaged(entry);
    names_[entry.name] = entry.uuid;
    devices_[entry.uuid] = std::make_unique<Device>(*host_, *std::move(entry.record));
  });
}

// It is shown and can be deleted. Nothing else that its record says is believed.
void Manager::load_damaged(const store::Store::Entry& entry) {
  const Error& why = entry.record.error();
  View view;
  view.uuid = entry.uuid;
  const bool snapshot = store::valid_snapshot_name(entry.name);
  view.settings.name =
      snapshot || store::valid_name(entry.name) ? entry.name : "damaged-" + entry.uuid.to_string();
  if (snapshot) view.settings.role = store::Role::snapshot;  // deleted as one
  view.phase = Phase::failed;
  view.failure = why.message;
  log::error("a record of the store cannot be used",
             {{"device", view.settings.name}, {"why", why.message}, {"hint", why.hint}});
  if (entry.uuid.is_nil()) return;  // not even that can be read: vtpmctl doctor tells of it
  names_[view.settings.name] = view.uuid;
  damaged_[view.uuid] = std::move(view);
}

void Manager::on_kernel_events() {
  const auto events = kernel_->read_events();
  if (!events) {
    log::error("cannot read events", {{"why", events.error().message}});
    loop_->unwatch(kernel_->fd());
    return;
  }
  for (const vtpm_event& event : *events) {
    if (event.type == VTPM_EVENT_OVERFLOW) {
      after_overflow();
      continue;
    }
    if (event.type == VTPM_EVENT_WANTED) {
      parking_->wanted(uuid_of(event));
      continue;
    }
    const auto device = devices_.find(uuid_of(event));
    if (device != devices_.end()) device->second->on_kernel_event(event);
  }
}

// Events were dropped, but states can be read: says again what each node's state implies.
void Manager::after_overflow() {
  const auto nodes = kernel_->list();
  if (!nodes) return;
  for (const vtpm_info& node : *nodes) {
    const auto device = devices_.find(uuid_of(node));
    if (device == devices_.end()) continue;
    if ((node.conditions & VTPM_COND_WANTED) != 0) parking_->wanted(device->first);
    vtpm_event event{};
    event.tpm_number = node.tpm_number;
    event.error = node.register_errno;
    event.tpm_rc = node.register_tpm_rc;
    if ((node.conditions & VTPM_COND_REGISTERED) != 0 || node.register_errno != 0)
      event.type = VTPM_EVENT_REGISTERED;
    else if ((node.conditions & VTPM_COND_NUMBER_HELD) != 0)
      event.type = VTPM_EVENT_DESTROYED;
    device->second->on_kernel_event(event);
  }
}

Result<Device*> Manager::find(const std::string& name_or_uuid) {
  std::optional<Uuid> uuid = Uuid::parse(name_or_uuid);
  if (const auto name = names_.find(name_or_uuid); name != names_.end()) uuid = name->second;
  const auto device = uuid ? devices_.find(*uuid) : devices_.end();
  if (uuid && damaged_.contains(*uuid))
    return fail(ErrorCode::corrupt, damaged_.at(*uuid).failure,
                "'vtpmctl delete' removes the device, or restore the store from a backup");
  if (device == devices_.end())
    return fail(ErrorCode::not_found, "there is no device " + name_or_uuid,
                "'vtpmctl list' shows all");
  return device->second.get();
}

Result<View> Manager::change(const std::string& name, Change change) {
  return on_loop<View>([this, name, change = std::move(change)](auto done) {
    auto device = find(name);
    if (!device) return done(tl::unexpected<Error>(std::move(device).error()));
    Device* d = *device;
    change(*d, [d, done](Result<void> result) {
      if (!result) return done(tl::unexpected<Error>(std::move(result).error()));
      done(d->view());
    });
  });
}

Holdings Manager::holdings(const std::string& owner) const {
  Holdings now;
  for (const auto& [uuid, device] : devices_) {
    const store::Settings& settings = device->record().settings;
    if (settings.role == store::Role::retired)
      now.retired++;
    else
      (is_read_only(settings) ? now.read_only : now.read_write)++;
    if (settings.owner == owner && counts_for_owner(settings)) now.of_owner++;
  }
  return now;
}

// A node removes the socket that it finds in its place: it must not be another device's.
Result<void> Manager::check_socket_paths(const store::Settings& settings) const {
  if (!is_on_socket(settings) || !store::has_node(settings.role)) return {};
  const std::string path = make_socket_node(settings, host_->socket_folder)->socket_path();
  for (const auto& [uuid, device] : devices_) {
    const std::string other = device->view().socket_path;
    if (other.empty() || (path != other && path + ".ctrl" != other && path != other + ".ctrl"))
      continue;
    return fail(ErrorCode::exists,
                "the socket " + path + " is that of device " + device->record().settings.name,
                "choose another name or socket path");
  }
  return {};
}

// The last check and then the store: what is in it from here on is a device.
Result<Device*> Manager::add(const store::Record& record) {
  const store::Settings& settings = record.settings;
  if (settings.node == static_cast<std::uint8_t>(privsep::NodeKind::kernel) && !kernel_ &&
      store::has_node(settings.role))
    return fail(ErrorCode::failed_precondition, "the kernel module vtpm is not in use",
                "load it with 'modprobe vtpm' and restart vtpmd, or use --node socket");
  VTPM_CHECK(check_quota(options_.quota, holdings(settings.owner), settings));
  VTPM_CHECK(check_parking(settings));
  VTPM_CHECK(check_socket_paths(settings));
  VTPM_CHECK(archive_->records().create(record));
  auto& device = devices_[record.uuid] = std::make_unique<Device>(*host_, record);
  names_[settings.name] = record.uuid;
  bulletin_.post(Notice::Kind::created, device->view());
  parking_->look();
  return device.get();
}

Result<View> Manager::create(const store::Settings& settings, bool start) {
  auto created = on_loop<View>([this, settings](auto done) {
    const auto uuid = Uuid::random();
    if (!uuid) return done(tl::unexpected<Error>(uuid.error()));
    store::Record record;
    record.uuid = *uuid;
    record.settings = settings;
    const auto device = add(record);
    if (!device) return done(tl::unexpected<Error>(device.error()));
    done((*device)->view());
  });
  if (!created || !start) return created;
  return this->start(created->uuid.to_string());
}

Result<View> Manager::start(const std::string& device, std::vector<Event> measured) {
  return change(device, [this, measured = std::move(measured)](Device& d, Device::Done done) {
    d.start(measured, [this, done = std::move(done)](const Result<void>& result) {
      done(result);
      parking_->keep_limit();
    });
  });
}

Result<View> Manager::stop(const std::string& device, bool release_number) {
  return change(device, [release_number](Device& d, Device::Done done) {
    d.stop(release_number, std::move(done));
  });
}

Result<View> Manager::power_cycle(const std::string& device, std::vector<Event> measured) {
  return change(device, [measured = std::move(measured)](Device& d, Device::Done done) {
    d.power_cycle(measured, std::move(done));
  });
}

Result<Bytes> Manager::event_log(const std::string& name) {
  return on_loop<Bytes>([this, name](auto done) {
    auto device = find(name);
    if (!device) return done(tl::unexpected<Error>(std::move(device).error()));
    const std::vector<Event>& events = (*device)->measured();
    if (events.empty())
      return done(fail(ErrorCode::failed_precondition, "there is no event log of this device",
                       "devices --for container have one while they are on"));
    done(encode_event_log(events));
  });
}

Result<Manager::Descent> Manager::lineage(const std::string& name) {
  return on_loop<Descent>([this, name](auto done) {
    const auto device = find(name);
    if (!device) return done(tl::unexpected<Error>(device.error()));
    done(descent_of(**device));
  });
}

Result<View> Manager::park(const std::string& device) {
  return change(device,
                [this](Device& d, Device::Done done) { parking_->park(d, std::move(done)); });
}

Result<std::uint32_t> Manager::release(const std::string& device) {
  return on_loop<std::uint32_t>([this, device](auto done) {
    if (!kernel_) return done(0U);
    std::optional<Uuid> only = Uuid::parse(device);
    if (const auto name = names_.find(device); name != names_.end()) only = name->second;
    if (!device.empty() && !only)
      return done(fail(ErrorCode::not_found, "there is no device " + device,
                       "a deleted device is named by its uuid"));
    auto nodes = kernel_->list();
    if (!nodes) return done(tl::unexpected<Error>(std::move(nodes).error()));
    std::uint32_t released = 0;
    for (const vtpm_info& node : *nodes) {
      if ((node.conditions & VTPM_COND_NUMBER_HELD) == 0 || (only && uuid_of(node) != *only))
        continue;
      if (kernel_->release_number(uuid_of(node), node.tpm_number)) released++;
    }
    done(released);
  });
}

Result<std::size_t> Manager::rotate_host_key() {
  return on_loop<std::size_t>([this](auto done) {
    committer_->flush();
    auto rotated = archive_->rotate_host_key();
    if (rotated)
      log::notice("the host key was replaced", {{"records", std::to_string(*rotated)}});
    else
      log::error("the host key was not replaced", {{"why", rotated.error().message}});
    done(std::move(rotated));
  });
}

Result<View> Manager::show(const std::string& name) {
  return on_loop<View>([this, name](auto done) {
    for (const auto& [uuid, view] : damaged_)
      if (name == view.settings.name || name == uuid.to_string()) return done(view);
    auto device = find(name);
    if (!device) return done(tl::unexpected<Error>(std::move(device).error()));
    done((*device)->view());
  });
}

Result<std::vector<View>> Manager::list(const std::string& after, std::size_t limit,
                                        bool snapshots) {
  return on_loop<std::vector<View>>([this, after, limit, snapshots](auto done) {
    std::vector<View> views;
    for (auto it = names_.upper_bound(after); it != names_.end(); ++it) {
      if (limit != 0 && views.size() == limit) break;
      if (store::valid_snapshot_name(it->first) != snapshots) continue;
      const auto damaged = damaged_.find(it->second);
      views.push_back(damaged != damaged_.end() ? damaged->second
                                                : devices_.at(it->second)->view());
    }
    done(std::move(views));
  });
}

Result<std::vector<Refusal>> Manager::refusals(const std::string& device, std::size_t limit) {
  std::optional<Uuid> uuid;
  if (!device.empty()) {
    VTPM_TRY(const View view, show(device));
    uuid = view.uuid;
  }
  return bulletin_.refusals(uuid, limit);
}

Result<std::vector<Finding>> Manager::examine() {
  VTPM_TRY(auto findings, on_loop<std::vector<Finding>>([this](auto done) {
             done(device::examine({.options = options_,
                                   .kernel = kernel_ ? &*kernel_ : nullptr,
                                   .fork_server = forks_->server_pid(),
                                   .devices = devices_,
                                   .damaged = damaged_,
                                   .seedlings = *seedlings_}));
           }));
  // One at a time: it reads the whole file.
  const std::lock_guard alone(store_examination_);
  findings.push_back(examine_store(options_.state_dir));
  return findings;
}

Versions Manager::versions() {
  Versions versions;
  versions.store = archive_->records().description();
  utsname name{};
  if (::uname(&name) == 0) versions.kernel = name.release;
  if (!kernel_) return versions;
  if (const auto module = kernel_->version()) {
    const auto* text = reinterpret_cast<const char*>(module->module_version);
    versions.module.assign(text, ::strnlen(text, sizeof module->module_version));
    versions.abi_major = module->abi_major;
    versions.abi_minor = module->abi_minor;
  }
  return versions;
}

}  // namespace vtpm::device
