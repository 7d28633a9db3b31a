// SPDX-License-Identifier: Apache-2.0
#include "policy/policy.h"

namespace vtpm::policy {

std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::allowed: return "the command is allowed";
    case Reason::malformed: return "the frame is malformed";
    case Reason::unknown_command: return "the engine has no such command";
    case Reason::generates_key: return "the command generates a key or a seed";
    case Reason::loads_or_stores_key: return "the command loads, stores or wraps a key";
    case Reason::uses_key: return "the command uses a key or a secret";
    case Reason::attests_by_key: return "the command attests with a signing key";
    case Reason::policy_by_key_or_ticket: return "the policy is proved by a key or a ticket";
    case Reason::changes_nv: return "the command changes NV memory";
    case Reason::changes_persistent_authorization:
      return "the command changes a persistent authorization or setting";
    case Reason::dictionary_attack: return "the command resets the dictionary-attack lockout";
    case Reason::salted_or_bound_session: return "the session is salted or bound by a key";
    case Reason::lockout_authorization:
      return "an authorization against the lockout hierarchy may be counted for good";
    case Reason::asks_for_ticket:
      return "a ticket is asked for (negative expiration), or the request is cut short";
    case Reason::hierarchy_not_platform:
      return "only the platform hierarchy's authorization lives in volatile memory";
    case Reason::pcr_allocation_changes:
      return "the PCR banks asked for are not known to be those in force";
    case Reason::context_of_keyed_hierarchy:
      return "only contexts of the null hierarchy are known to come from this device";
    case Reason::session_uses_key: return "the authorization uses a key";
  }
  return "unknown reason";
}

}  // namespace vtpm::policy
