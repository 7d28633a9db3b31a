// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/measurement.h"
#include "base/unique_fd.h"

namespace vtpm::ctl {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// One digest of each bank over bytes that come in parts.
class Hasher {
 public:
  Hasher() {
    for (std::size_t i = 0; i < kHashBanks.size(); i++) {
      contexts_[i].reset(EVP_MD_CTX_new());
      good_ = good_ && contexts_[i] &&
              EVP_DigestInit_ex(contexts_[i].get(), EVP_get_digestbyname(kHashBanks[i].name),
                                nullptr) == 1;
    }
  }
  void update(ByteView bytes) {
    for (auto& context : contexts_)
      good_ = good_ && EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1;
  }
  // False: OpenSSL does not compute one of them.
  bool finish(v1::Measurement& measurement) {
    const std::array<std::string*, kHashBanks.size()> out{
        measurement.mutable_sha1(), measurement.mutable_sha256(), measurement.mutable_sha384(),
        measurement.mutable_sha512()};
    for (std::size_t i = 0; i < kHashBanks.size(); i++) {
      out[i]->resize(kHashBanks[i].size);
      good_ = good_ &&
              EVP_DigestFinal_ex(contexts_[i].get(),
                                 reinterpret_cast<unsigned char*>(out[i]->data()), nullptr) == 1;
    }
    return good_;
  }

 private:
  std::array<std::unique_ptr<EVP_MD_CTX, FreeContext>, kHashBanks.size()> contexts_;
  bool good_ = true;
};

// Takes "pcr=N:" from the front.
Outcome<std::uint8_t> take_pcr(std::string_view& value, std::uint8_t otherwise) {
  constexpr std::string_view kPrefix = "pcr=";
  if (!value.starts_with(kPrefix)) return otherwise;
  const std::size_t colon = value.find(':');
  std::uint8_t pcr = 0;
  const std::string_view number =
      value.substr(kPrefix.size(), colon == value.npos ? value.npos : colon - kPrefix.size());
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), pcr);
  if (colon == value.npos || error != std::errc() || end != number.data() + number.size() ||
      pcr >= kMeasurablePcrs)
    return failure(Exit::usage, fmt::format("'{}' does not begin with a PCR", value),
                   "pcr=0: to pcr=15: may stand before what is measured; a file of such a name is "
                   "./pcr=…");
  value.remove_prefix(colon + 1);
  return pcr;
}

tl::unexpected<Failure> cannot_read(const std::string& path, const char* why) {
  return failure(Exit::failed, fmt::format("cannot measure {}: {}", path, why));
}

Outcome<v1::Measurement> measure_file(std::string_view value) {
  const auto pcr = take_pcr(value, kFilePcr);
  if (!pcr) return tl::unexpected(pcr.error());
  const std::string path(value);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat st{};
  if (!file || ::fstat(file.get(), &st) != 0) return cannot_read(path, std::strerror(errno));
  if (S_ISDIR(st.st_mode)) return cannot_read(path, "it is a directory");
  Hasher hasher;
  std::array<std::byte, 65536> part{};
  for (;;) {
    const ssize_t n = ::read(file.get(), part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot_read(path, std::strerror(errno));
    if (n == 0) break;
    hasher.update(ByteView(part).first(static_cast<std::size_t>(n)));
  }
  v1::Measurement measurement;
  measurement.set_pcr(*pcr);
  measurement.set_what(path);
  if (!hasher.finish(measurement)) return cannot_read(path, "OpenSSL lacks a hash");
  return measurement;
}

Outcome<v1::Measurement> measure_text(std::string_view value) {
  const auto pcr = take_pcr(value, kTextPcr);
  if (!pcr) return tl::unexpected(pcr.error());
  if (value.find('=') == value.npos || value.front() == '=')
    return failure(Exit::usage, fmt::format("--measure-text '{}' has no NAME=", value),
                   "say what the text is, e.g. --measure-text 'cmdline=sleep 10'");
  Hasher hasher;
  hasher.update(as_bytes(value));
  v1::Measurement measurement;
  measurement.set_pcr(*pcr);
  measurement.set_what(std::string(value));
  if (!hasher.finish(measurement)) return cannot_read("a text", "OpenSSL lacks a hash");
  return measurement;
}

}  // namespace

void declare_measure(Arguments& arguments, MeasureOptions& options) {
  arguments
      .texts("--measure", options.files,
             "a file to measure before anybody uses the device, into PCR 9 or pcr=N:FILE; may be "
             "repeated")
      .one_each();
  arguments
      .texts("--measure-text", options.texts,
             "NAME=TEXT to measure after the files, into PCR 8 or pcr=N:NAME=TEXT; may be repeated")
      .one_each();
}

Outcome<v1::Measurements> measure(const MeasureOptions& options) {
  v1::Measurements measured;
  const auto add = [&](const std::vector<std::string>& values, auto one) -> Outcome<void> {
    for (const std::string& value : values) {
      auto measurement = one(value);
      if (!measurement) return tl::unexpected(measurement.error());
      *measured.add_list() = *std::move(measurement);
    }
    return {};
  };
  if (auto done = add(options.files, measure_file); !done) return tl::unexpected(done.error());
  if (auto done = add(options.texts, measure_text); !done) return tl::unexpected(done.error());
  return measured;
}

}  // namespace vtpm::ctl
