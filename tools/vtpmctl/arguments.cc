// SPDX-License-Identifier: Apache-2.0
#include "arguments.h"

#include <CLI/CLI.hpp>

namespace vtpm::ctl {
namespace {

std::vector<LongOption> long_options(const CLI::App& parser) {
  std::vector<LongOption> out;
  for (const CLI::Option* option : parser.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      out.push_back({name, option->get_description()});
    }
  }
  return out;
}

}  // namespace

Argument& Argument::required() {
  option_.required();
  return *this;
}

Argument& Argument::one_of(const std::vector<std::string>& words) {
  option_.check(CLI::IsMember(words));
  return *this;
}

Argument& Argument::one_each() {
  option_.allow_extra_args(false);
  return *this;
}

Argument& Argument::between(std::uint32_t least, std::uint32_t most) {
  option_.check(CLI::Range(least, most));
  return *this;
}

Argument Arguments::text(const std::string& name, std::string& variable,
                         const std::string& purpose) {
  return Argument(*parser_.add_option(name, variable, purpose)->capture_default_str());
}

// CLI11 takes an empty text for no value, if the variable may have none.
Argument Arguments::text(const std::string& name, std::optional<std::string>& variable,
                         const std::string& purpose) {
  return Argument(*parser_.add_option_function<std::string>(
      name, [&variable](const std::string& given) { variable = given; }, purpose));
}

Argument Arguments::texts(const std::string& name, std::vector<std::string>& variable,
                          const std::string& purpose) {
  return Argument(*parser_.add_option(name, variable, purpose));
}

Argument Arguments::number(const std::string& name, std::uint32_t& variable,
                           const std::string& purpose) {
  return Argument(*parser_.add_option(name, variable, purpose)->capture_default_str());
}

void Arguments::flag(const std::string& name, bool& variable, const std::string& purpose) {
  parser_.add_flag(name, variable, purpose);
}

std::vector<LongOption> Arguments::options_of(const std::string& verb) const {
  return long_options(*parser_.get_parent()->get_subcommand(verb));
}

std::vector<LongOption> Arguments::global_options() const {
  return long_options(*parser_.get_parent());
}

}  // namespace vtpm::ctl
