// SPDX-License-Identifier: Apache-2.0
// Measure: what --measure and --measure-text of start and power-cycle name, read and digested here,
// so that vtpmd opens no file of anybody's.
#pragma once

#include <string>
#include <vector>

#include "api/vtpm.pb.h"
#include "arguments.h"
#include "environment.h"

namespace vtpm::ctl {

struct MeasureOptions {
  std::vector<std::string> files;
  std::vector<std::string> texts;
};

void declare_measure(Arguments& arguments, MeasureOptions& options);

// The files in their order, then the texts in theirs.
Outcome<v1::Measurements> measure(const MeasureOptions& options);

}  // namespace vtpm::ctl
