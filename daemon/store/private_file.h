// SPDX-License-Identifier: Apache-2.0
// Files and folders that nobody but vtpmd may read: the store, its lock, the host key.
//
// A file counts as private if it is a regular file of root or of this process's user, and its mode
// gives nothing to group and others. Symbolic links are refused in the last component.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace vtpm::store {

// Opens and checks a private file; `flags` are those of open(2) (O_CLOEXEC and O_NOFOLLOW are
// added; O_CREAT makes it with mode 0600). `what` names it in errors, e.g. "host key"; `allowed`:
// what group and others may have after all.
Result<UniqueFd> open_private_file(const std::string& path, int flags, const std::string& what,
                                   mode_t allowed = 0);

// All of a private file, at most `limit` bytes; TOO_LARGE if it has more.
Result<SecretBytes> read_private_file(const std::string& path, std::size_t limit,
                                      const std::string& what, mode_t allowed = 0);
// The file is there whole and durable, or not at all. EXISTS if it is there already, unless
// `replace`.
Result<void> write_private_file(const std::string& path, ByteView content, bool replace,
                                const std::string& what);
// Overwrites what the file holds, as far as the file system writes in place, through a descriptor
// that may have lost its name.
void overwrite(int fd);

// Makes the folder (mode 0700) if it is not there; refuses one that others may enter.
// Returns its path without symbolic links.
Result<std::string> make_private_folder(const std::string& path);

// fsync() of a folder, so that a new or renamed entry in it survives a power loss.
Result<void> sync_folder(const std::string& path);

// "a/b" -> "a"; "b" -> "."
std::string folder_of(const std::string& path);

}  // namespace vtpm::store
