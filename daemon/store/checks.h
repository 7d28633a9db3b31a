// SPDX-License-Identifier: Apache-2.0
// What every implementation of Store refuses before it looks at what it has: the same limits
// whichever store a host uses. Pure functions; any thread.
#pragma once

#include "store/store.h"

namespace vtpm::store {

Result<void> check_text(const std::string& text, const char* what);
Result<void> check_version(const Version& version);
// For a write: also leaves room for one more.
Result<void> check_expected(const Version& expected);
Result<void> check_voucher(ByteView voucher);
Result<void> check_note(ByteView note);
Result<void> check_withdrawn(const Withdrawn& withdrawn);
Result<void> check_record(const Record& record);
Result<void> check_commit(const Store::CommitRequest& request);
Result<void> check_succession(const Store::Succession& succession);
Result<void> check_revision(const Store::Revision& revision);

}  // namespace vtpm::store
