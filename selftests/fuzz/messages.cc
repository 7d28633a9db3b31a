// SPDX-License-Identifier: Apache-2.0
// Messages between processes: what decodes is what somebody encoded, byte for byte, but for text,
// which is made printable on the way.
#include "privsep/messages.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <string>

#include "check.h"
#include "privsep/fork_messages.h"

namespace vtpm::fuzz {
namespace {

using namespace privsep;

constexpr std::size_t kMaxText = 512;

bool clean(const std::string& text) {
  return text.size() <= kMaxText &&
         std::ranges::all_of(text, [](unsigned char c) { return c >= 0x20 && c <= 0x7e; });
}

// The text of a message, where it has one.
const std::string* text_of(const Message& message) {
  if (const auto* m = std::get_if<Start>(&message)) return &m->name;
  if (const auto* m = std::get_if<Refused>(&message)) return &m->reason;
  if (const auto* m = std::get_if<Failed>(&message)) return &m->reason;
  return nullptr;
}

// Every value of an enum is one that has a name.
void check_enums(const Message& message) {
  if (const auto* m = std::get_if<Start>(&message))
    FUZZ_CHECK((m->node == NodeKind::kernel || m->node == NodeKind::socket) &&
               (m->mode == DeviceMode::read_only || m->mode == DeviceMode::read_write) &&
               (m->kind == DeviceKind::container || m->kind == DeviceKind::vm ||
                m->kind == DeviceKind::open));
  if (const auto* m = std::get_if<Stop>(&message))
    FUZZ_CHECK(m->how == Stop::How::park || m->how == Stop::How::power_off ||
               m->how == Stop::How::rest);
}

template <class Decoded>
void check_canonical(const Decoded& message, ByteView bytes, bool with_text) {
  const SecretBytes encoded = encode(message);
  FUZZ_CHECK(encoded.size() <= bytes.size());
  if (!with_text) FUZZ_CHECK(std::ranges::equal(encoded, bytes));
}

void from_bytes(ByteView bytes) {
  if (const auto message = decode(bytes)) {
    const std::string* text = text_of(*message);
    if (text != nullptr) FUZZ_CHECK(clean(*text));
    check_enums(*message);
    check_canonical(*message, bytes, text != nullptr);
    const SecretBytes first = encode(*message);
    const auto again = decode(first);
    FUZZ_CHECK(again && again->index() == message->index() && encode(*again) == first);
    FUZZ_CHECK(!decode_fork(bytes));  // a type belongs to one conversation
    // Not one byte may be missing, nor one be over.
    FUZZ_CHECK(!decode(bytes.first(bytes.size() - 1)));
    Bytes longer = to_bytes(bytes);
    longer.push_back(std::byte{0});
    FUZZ_CHECK(!decode(longer));
  }
  if (const auto message = decode_fork(bytes))
    check_canonical(*message, bytes, std::holds_alternative<Welcome>(*message));
  if (const auto checkpoint = decode_checkpoint(bytes))
    FUZZ_CHECK(std::ranges::equal(encode(*checkpoint), bytes));
}

SecretBytes some_secret(FuzzedDataProvider& in, std::size_t limit) {
  // Sizes at the limit without an input that is as long.
  const std::size_t size = in.ConsumeIntegralInRange<std::size_t>(0, limit + 1);
  const auto fill = in.ConsumeIntegral<std::uint8_t>();
  const bool large = in.ConsumeIntegral<std::uint8_t>() > 0xf0;
  return SecretBytes(large ? size : size % 64, std::byte{fill});
}

Checkpoint some_checkpoint(FuzzedDataProvider& in) {
  Checkpoint c;
  c.boot_id.fill(std::byte{in.ConsumeIntegral<std::uint8_t>()});
  c.incarnation = in.ConsumeIntegral<std::uint64_t>();
  c.permanent_version = in.ConsumeIntegral<std::uint64_t>();
  c.sequence = in.ConsumeIntegral<std::uint64_t>();
  c.permanent = some_secret(in, kMaxPermanentState);
  c.volatile_state = some_secret(in, kMaxVolatileState);
  c.reply = some_secret(in, kMaxReply);
  return c;
}

bool over_limit(const Checkpoint& c) {
  return c.permanent.size() > kMaxPermanentState || c.volatile_state.size() > kMaxVolatileState ||
         c.reply.size() > kMaxReply;
}

bool same(const Checkpoint& a, const Checkpoint& b) {
  return a.boot_id == b.boot_id && a.incarnation == b.incarnation &&
         a.permanent_version == b.permanent_version && a.sequence == b.sequence &&
         a.permanent == b.permanent && a.volatile_state == b.volatile_state && a.reply == b.reply;
}

// decode(encode(x)) is x.
void from_values(FuzzedDataProvider& in) {
  const Checkpoint checkpoint = some_checkpoint(in);
  const auto commit = decode(encode(Message{Commit{checkpoint}}));
  FUZZ_CHECK(commit.has_value() != over_limit(checkpoint));
  if (commit) FUZZ_CHECK(same(std::get<Commit>(*commit).checkpoint, checkpoint));

  Denied denied;
  denied.command_code = in.ConsumeIntegral<std::uint32_t>();
  denied.reason = in.ConsumeIntegral<std::uint8_t>();
  denied.locality = in.ConsumeIntegral<std::uint8_t>();
  denied.rc = in.ConsumeIntegral<std::uint32_t>();
  denied.sequence = in.ConsumeIntegral<std::uint64_t>();
  denied.suppressed = in.ConsumeIntegral<std::uint32_t>();
  const auto told = decode(encode(Message{denied}));
  FUZZ_CHECK(told);
  const auto& d = std::get<Denied>(*told);
  FUZZ_CHECK(d.command_code == denied.command_code && d.reason == denied.reason &&
             d.locality == denied.locality && d.rc == denied.rc && d.sequence == denied.sequence &&
             d.suppressed == denied.suppressed);

  const Died death{in.ConsumeIntegral<std::int32_t>(), in.ConsumeIntegral<std::int32_t>()};
  const auto died = decode_fork(encode(ForkMessage{death}));
  FUZZ_CHECK(died && std::get<Died>(*died).pid == death.pid &&
             std::get<Died>(*died).wait_status == death.wait_status);

  // A message of which one byte is another one.
  Start start;
  start.checkpoint.sequence = denied.sequence;
  SecretBytes spoiled = encode(in.ConsumeBool() ? Message{start} : Message{Stop{}});
  spoiled[in.ConsumeIntegralInRange<std::size_t>(0, spoiled.size() - 1)] =
      std::byte{in.ConsumeIntegralInRange<std::uint8_t>(0, 8)};
  from_bytes(spoiled);

  const Failed failure{in.ConsumeRemainingBytesAsString()};
  const auto failed = decode(encode(Message{failure}));
  FUZZ_CHECK(failed && clean(std::get<Failed>(*failed).reason));
  if (clean(failure.reason)) FUZZ_CHECK(std::get<Failed>(*failed).reason == failure.reason);
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vtpm::fuzz::from_bytes({reinterpret_cast<const std::byte*>(data), size});
  FuzzedDataProvider provider(data, size);
  vtpm::fuzz::from_values(provider);
  return 0;
}
