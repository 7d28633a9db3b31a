// SPDX-License-Identifier: Apache-2.0
// Session: one invocation of vtpmctl. Holds the global options, connects when the first call is
// made, and is the one way to the person's terminal. Used from one thread.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/vtpm.grpc.pb.h"
#include "client.h"
#include "environment.h"
#include "json.h"
#include "table.h"

namespace vtpm::ctl {

enum class Format { table, json };

struct GlobalOptions {
  Format format = Format::table;
  bool color = false;
  bool quiet = false;
  std::filesystem::path socket;  // empty = by the verb's role
};

class Session {
 public:
  Session(Environment& environment, GlobalOptions options)
      : environment_(environment), options_(std::move(options)) {}

  // One call of the API, on the socket that the stub's role needs.
  template <class Stub, class Request, class Reply>
  Outcome<Reply> call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                      const std::type_identity_t<Request>& request,
                      std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
    const Role role = std::is_same_v<Stub, v1::Admin::Stub> ? Role::admin : Role::observe;
    auto connection = connect(role);
    if (!connection) return tl::unexpected<Failure>(connection.error());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         timeout.value_or(environment_.call_timeout));
    Stub stub(connection->channel);
    Reply reply;
    const grpc::Status status = (stub.*method)(&context, request, &reply);
    if (!status.ok()) {
      return tl::unexpected<Failure>(failure_of(status, context, role, *connection));
    }
    return reply;
  }

  // The connection for `role`. One for Admin serves Observe, too.
  Outcome<Connection> connect(Role role);

  [[nodiscard]] Environment& environment() { return environment_; }
  [[nodiscard]] bool json() const { return options_.format == Format::json; }
  [[nodiscard]] bool quiet() const { return options_.quiet; }
  [[nodiscard]] bool color() const { return options_.color; }
  [[nodiscard]] const std::filesystem::path& socket_option() const { return options_.socket; }

  // To stdout. print() takes text that is printable already.
  void print(std::string_view text);
  void print(const Table& table);
  void print_json(const Json& json) { print(dump(json, 2)); }
  void print_json_line(const Json& json) { print(dump(json, -1)); }
  // Pushes it out now; false if nobody takes it any more.
  bool flush();

  // "vtpmctl: MESSAGE" and "  hint: HINT" to stderr, escaped; gives the exit status.
  Exit report(const Failure& failure);
  // A hint to stderr unless -q.
  void hint(std::string_view text);
  // A hint for a person who looks on: only if stderr is a terminal, too.
  void tip(std::string_view text);

 private:
  Environment& environment_;
  GlobalOptions options_;
  std::optional<Connection> connection_;
  Role connected_as_ = Role::observe;
};

}  // namespace vtpm::ctl
