// SPDX-License-Identifier: Apache-2.0
// fuzz-seeds FOLDER: inputs to begin with, made by the code that the harnesses test, in
// FOLDER/TARGET. `run --merge` makes the corpus of the tree from these and from what runs found.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "frame/commands.h"
#include "frame_case.h"
#include "privsep/messages.h"

namespace vtpm::fuzz {
namespace {

class Corpus {
 public:
  Corpus(const std::filesystem::path& root, const char* target) : folder_(root / target) {
    std::filesystem::create_directories(folder_);
  }
  void put(ByteView input) {
    std::ofstream file(folder_ / ("seed-" + std::to_string(count_++)), std::ios::binary);
    file.write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
  }

 private:
  std::filesystem::path folder_;
  int count_ = 0;
};

void frames(Corpus corpus) {
  Dice dice{1};
  for (std::uint8_t flags = 0; flags < 8; ++flags)
    for (int i = 0; i < 60; ++i) {
      FrameCase c{.flags = flags, .exchanges = {}};
      const std::uint32_t count = 1 + dice.below(4);
      for (std::uint32_t n = 0; n < count; ++n) {
        Exchange e{.locality = static_cast<std::uint8_t>(dice.below(5)),
                   .command = some_command(dice),
                   .reply = {}};
        e.reply = some_reply(dice, e.command);
        c.exchanges.push_back(std::move(e));
      }
      corpus.put(encode_case(c));
    }
}

Checkpoint some_checkpoint() {
  Checkpoint c;
  c.boot_id.fill(std::byte{0xb0});
  c.incarnation = 3;
  c.permanent_version = 2;
  c.sequence = 41;
  c.permanent = SecretBytes(40, std::byte{0x70});
  c.volatile_state = SecretBytes(30, std::byte{0x76});
  c.reply = SecretBytes(10, std::byte{0x80});
  return c;
}

void messages(Corpus corpus) {
  using namespace privsep;
  Start start;
  start.device.bytes.fill(std::byte{5});
  start.name = "seed";
  start.node = NodeKind::socket;
  start.mode = DeviceMode::read_write;
  start.checkpoint = some_checkpoint();
  const std::vector<Message> all = {start,
                                    Stop{Stop::How::power_off},
                                    Committed{41, 2},
                                    Refused{"no room"},
                                    Ready{true},
                                    Failed{"no state"},
                                    Commit{some_checkpoint()},
                                    Denied{0x131, 3, 0, 0x156, 42, 1},
                                    Stopped{42, true}};
  for (const Message& message : all) corpus.put(encode(message));
  for (const ForkMessage& message :
       {ForkMessage{ForkRequest{1}}, ForkMessage{Forked{1, 77, 0}}, ForkMessage{Died{77, 11}}})
    corpus.put(encode(message));
  corpus.put(encode(some_checkpoint()));
}

}  // namespace
}  // namespace vtpm::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz-seeds FOLDER\n", stderr);
    return 2;
  }
  using namespace vtpm::fuzz;
  const std::filesystem::path root = argv[1];
  frames({root, "frame"});
  messages({root, "messages"});
  return 0;
}
