// SPDX-License-Identifier: Apache-2.0
// Arguments: what a verb takes from its command line. Verbs include this instead of CLI11, whose
// header costs more time to compile than all else that a verb includes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace vtpm::ctl {

// One argument; the functions narrow what it may be.
class Argument {
 public:
  explicit Argument(CLI::Option& option) : option_(option) {}
  Argument& required();
  Argument& one_of(const std::vector<std::string>& words);
  // Of texts: each occurrence takes one, so that a positional argument may follow.
  Argument& one_each();
  Argument& between(std::uint32_t least, std::uint32_t most);

 private:
  CLI::Option& option_;
};

struct LongOption {
  std::string name;  // without the dashes
  std::string purpose;
};

// The declarations of one verb. A variable must live as long as the parser; the value that it has
// is the default, and help shows it.
class Arguments {
 public:
  explicit Arguments(CLI::App& parser) : parser_(parser) {}
  // `name`: "NAME" for a positional argument, else "--name" or "-n,--name".
  Argument text(const std::string& name, std::string& variable, const std::string& purpose);
  // Nothing unless it is given, and then whatever is given, the empty text too.
  Argument text(const std::string& name, std::optional<std::string>& variable,
                const std::string& purpose);
  Argument texts(const std::string& name, std::vector<std::string>& variable,
                 const std::string& purpose);
  Argument number(const std::string& name, std::uint32_t& variable, const std::string& purpose);
  void flag(const std::string& name, bool& variable, const std::string& purpose);

  // For shells: what another verb declares, and what all verbs take.
  [[nodiscard]] std::vector<LongOption> options_of(const std::string& verb) const;
  [[nodiscard]] std::vector<LongOption> global_options() const;

 private:
  CLI::App& parser_;
};

}  // namespace vtpm::ctl
