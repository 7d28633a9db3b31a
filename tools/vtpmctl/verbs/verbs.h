// SPDX-License-Identifier: Apache-2.0
// The verbs of vtpmctl: a table of name, purpose, examples and what to do.
#pragma once

#include <functional>
#include <span>

#include "arguments.h"
#include "environment.h"
#include "session.h"
#include "words.h"

namespace vtpm::ctl {

// What a verb does once its command line is read.
using Action = std::function<Exit(Session&)>;

struct Verb {
  const char* name;
  const char* purpose;   // a sentence
  const char* teaching;  // more of what one should know, and one or two examples
  // Adds the verb's options to its arguments and gives the action that uses them.
  Action (*declare)(Arguments& arguments);
  bool hidden = false;
};

// In the order in which help shows them.
std::span<const Verb> verbs();

Action declare_create(Arguments& arguments);
Action declare_clone(Arguments& arguments);
Action declare_rebase(Arguments& arguments);
Action declare_snapshot(Arguments& arguments);
Action declare_rollback(Arguments& arguments);
Action declare_template(Arguments& arguments);
Action declare_list(Arguments& arguments);
Action declare_show(Arguments& arguments);
Action declare_set(Arguments& arguments);
Action declare_start(Arguments& arguments);
Action declare_stop(Arguments& arguments);
Action declare_attach(Arguments& arguments);
Action declare_detach(Arguments& arguments);
Action declare_delete(Arguments& arguments);
Action declare_power_cycle(Arguments& arguments);
Action declare_park(Arguments& arguments);
Action declare_set_mode(Arguments& arguments);
Action declare_generalize(Arguments& arguments);
Action declare_release(Arguments& arguments);
Action declare_host_key(Arguments& arguments);
Action declare_export(Arguments& arguments);
Action declare_import(Arguments& arguments);
Action declare_ca(Arguments& arguments);
Action declare_lineage(Arguments& arguments);
Action declare_cert(Arguments& arguments);
Action declare_verify(Arguments& arguments);
Action declare_event_log(Arguments& arguments);
Action declare_watch(Arguments& arguments);
Action declare_denied(Arguments& arguments);
Action declare_explain(Arguments& arguments);
Action declare_doctor(Arguments& arguments);
Action declare_version(Arguments& arguments);
Action declare_complete(Arguments& arguments);

// Does `one` for each name, reports each failure, goes on unless vtpmd is gone; the exit status is
// that of the first failure. Nothing is done if one of the names cannot be any.
using CheckName = Outcome<void> (*)(std::string_view);
Exit for_each_device(Session& session, const std::vector<std::string>& names,
                     const std::function<Outcome<void>(const std::string&)>& one,
                     CheckName check = check_name);

// The same for a verb that changes devices, each of which `one` gives as it is then: with JSON, an
// array of those that did not fail.
Exit change_each(Session& session, const std::vector<std::string>& names,
                 const std::function<Outcome<v1::Device>(const std::string&)>& one,
                 CheckName check = check_name);

// Deletes one device, or template, and tells of it as `name`; `deleted` is the JSON of all.
Outcome<void> delete_one(Session& session, const std::string& name,
                         const v1::DeleteRequest& request, Json& deleted);

// Asks a person on the terminal before something that is not done by accident; one of `agreements`
// has to be typed. Without a terminal it is refused.
Outcome<void> confirm(Session& session, const std::string& verb, const std::string& question,
                      const std::vector<std::string>& agreements);

// All that is known of it, as text or JSON.
void print_device(Session& session, const v1::Device& device);

}  // namespace vtpm::ctl
