// SPDX-License-Identifier: Apache-2.0
// The parts of bench-life; life.cc says what each does and prints.
#pragma once

#include <functional>
#include <vector>

#include "manager.h"

namespace bench {

struct Crowd {
  v1::Node node = v1::KERNEL;
  v1::Mode mode = v1::READ_WRITE;
  int devices = 1000;
  int clients = 4;
};

void storm(Manager& manager, const Crowd& crowd);
void wakes(Manager& manager);
void clones(Manager& manager, const Crowd& crowd);

double microseconds(const std::function<void()>& act);
void print_times(const char* name, const std::vector<double>& times);  // a member of a JSON object

}  // namespace bench
