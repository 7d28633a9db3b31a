// SPDX-License-Identifier: Apache-2.0
// Captures: command frames that a person has at hand, as hexadecimal words or in a file. Pure but
// for reading that file. The bytes are untrusted.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "environment.h"

namespace vtpm::ctl {

inline constexpr std::size_t kMaxCapture = std::size_t{1} << 20;

// The bytes behind `what`: hexadecimal digits (blanks and colons are skipped), "-" for `in`, or
// else a file, whose content is binary or, if nothing else is in it, hexadecimal text with #
// comments.
Outcome<SecretBytes> read_capture(const std::string& what, std::istream& in);

// One view a frame. Frames follow one another, each as long as its size field says; what is too
// short for a header, or shorter than it says, is the last one.
std::vector<ByteView> split_frames(ByteView bytes);

}  // namespace vtpm::ctl
