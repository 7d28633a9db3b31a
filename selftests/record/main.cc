// SPDX-License-Identifier: Apache-2.0
// dump-record STORE HOST-KEY: every record of a copied store as JSON, unsealed.
//
// For tests that prove what a record does and does not hold. STORE is a copy: vtpmd locks its own.
#include <iostream>
#include <nlohmann/json.hpp>

#include "device/vault.h"
#include "engine/state_blob.h"
#include "store/store.h"

namespace vtpm {
namespace {

using nlohmann::json;

Result<json> describe_state(const Checkpoint& checkpoint) {
  VTPM_TRY(const engine::PermanentLayout layout, engine::parse_permanent(checkpoint.permanent));
  const auto hex = [&checkpoint](const engine::Field& field) {
    return to_hex(ByteView(checkpoint.permanent).subspan(field.offset, field.size));
  };
  VTPM_TRY(const bool blank, engine::is_blank(checkpoint.permanent));
  return json{{"blank", blank},
              {"permanent", to_hex(checkpoint.permanent)},
              {"volatile", to_hex(checkpoint.volatile_state)},
              {"sequence", checkpoint.sequence},
              {"endorsement_seed", hex(layout.endorsement_seed)},
              {"storage_seed", hex(layout.storage_seed)},
              {"platform_seed", hex(layout.platform_seed)},
              {"endorsement_proof", hex(layout.endorsement_proof)},
              {"storage_proof", hex(layout.storage_proof)},
              {"platform_proof", hex(layout.platform_proof)}};
}

Result<json> describe(device::Vault& vault, const store::Record& record) {
  const store::Settings& s = record.settings;
  json out{{"uuid", record.uuid.to_string()},
           {"name", s.name},
           {"owner", s.owner},
           {"kind", s.kind},
           {"mode", s.mode},
           {"node", s.node},
           {"socket_path", s.socket_path},
           {"linux_hmac", s.linux_hmac},
           {"command_timeout_ms", s.command_timeout_ms},
           {"detach_timeout_ms", s.detach_timeout_ms},
           {"park_after_s", s.park_after_s ? nlohmann::json(*s.park_after_s) : nlohmann::json()},
           {"cert_profile", s.cert_profile},
           {"role", s.role},
           {"taken_us", record.taken_us},
           {"version", {record.version.owner, record.version.epoch, record.version.generation}},
           {"powered", record.powered},
           {"failure", record.failure},
           {"wrapped_key", to_hex(record.wrapped_key)},
           {"sealed", to_hex(record.state.bytes)},
           {"state", nullptr}};
  VTPM_TRY(const auto checkpoint, vault.open(record));
  if (checkpoint) {
    VTPM_TRY(out["state"], describe_state(*checkpoint));
  }
  return out;
}

Result<json> dump(const std::string& store_path, const std::string& key_path) {
  VTPM_TRY(const auto store, store::open_sqlite(store_path));
  VTPM_TRY(auto key, store::HostKey::from_file(key_path, false));
  device::Vault vault(std::move(key));
  json all = json::array();
  VTPM_TRY(const auto records, store->list("", 10'000));
  for (const store::Store::Entry& entry : records) {
    VTPM_TRY(const store::Record record, entry.record);
    VTPM_TRY(json one, describe(vault, record));
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace
}  // namespace vtpm

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: dump-record STORE HOST-KEY\n";
    return 2;
  }
  const auto all = vtpm::dump(argv[1], argv[2]);
  if (!all) {
    std::cerr << "dump-record: " << all.error().message << '\n';
    return 1;
  }
  std::cout << all->dump(2) << '\n';
  return 0;
}
