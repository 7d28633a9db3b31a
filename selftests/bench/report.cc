// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <algorithm>
#include <numeric>

namespace bench {
namespace {

Figures figures_of_all(const Series& series) {
  std::vector<double> times;
  for (const auto& round : series.rounds) times.insert(times.end(), round.begin(), round.end());
  return figures_of(std::move(times));
}

const Series* find(const Comparison& comparison, const std::string& name) {
  const auto it = std::ranges::find(comparison.series, name, &Series::subject);
  return it == comparison.series.end() ? nullptr : &*it;
}

void print_doubt(std::FILE* out, const Comparison& comparison) {
  constexpr double kTrusted = 1.25;
  const Series& floor = comparison.series.front();
  const Series* again = find(comparison, floor.subject + "-again");
  if (again == nullptr) return;
  const Ratio r = ratio(*again, floor);
  if (r.lower_quartile * kTrusted >= 1 && r.upper_quartile <= kTrusted) return;
  (void)std::fprintf(out,
                     "  NOISE: %s differs from itself by a factor of %.2f..%.2f between rounds; "
                     "ratios above mean little\n",
                     floor.subject.c_str(), r.lower_quartile, r.upper_quartile);
}

}  // namespace

Figures figures_of(std::vector<double> times) {
  if (times.empty()) return {};
  std::ranges::sort(times);
  const std::size_t n = times.size();
  return {.median = n % 2 == 1 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2,
          .p10 = times[(n + 9) / 10 - 1],
          .p99 = times[(n * 99 + 99) / 100 - 1],  // nearest rank
          .min = times.front(),
          .mean = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(n)};
}

Ratio ratio(const Series& subject, const Series& floor) {
  const Figures ours = figures_of_all(subject);
  const Figures least = figures_of_all(floor);
  Ratio result{.all = ours.median / least.median, .p10 = ours.p10 / least.p10};
  std::vector<double> by_round(std::min(subject.rounds.size(), floor.rounds.size()));
  for (std::size_t i = 0; i < by_round.size(); ++i) {
    by_round[i] = figures_of(subject.rounds[i]).median / figures_of(floor.rounds[i]).median;
  }
  std::ranges::sort(by_round);
  if (!by_round.empty()) {
    result.lower_quartile = by_round[(by_round.size() - 1) / 4];
    result.upper_quartile = by_round[by_round.size() - 1 - (by_round.size() - 1) / 4];
  }
  return result;
}

void print_table(std::FILE* out, const std::vector<Comparison>& results,
                 const std::string& against) {
  for (const Comparison& comparison : results) {
    const Series& floor = comparison.series.front();
    const Series* slow = find(comparison, against);
    (void)std::fprintf(out, "%-20s %9s %9s %9s %9s %9s   %-7s %-17s %-9s %s\n",
                       comparison.command.c_str(), "median us", "p10", "p99", "min", "mean",
                       "x floor", "(half rounds)", "(by p10)",
                       slow == nullptr ? "" : "times as fast");
    for (const Series& series : comparison.series) {
      const Figures f = figures_of_all(series);
      const Ratio r = ratio(series, floor);
      char spread[40];
      (void)std::snprintf(spread, sizeof(spread), "(%.2f..%.2f)", r.lower_quartile,
                          r.upper_quartile);
      (void)std::fprintf(out, "  %-18s %9.1f %9.1f %9.1f %9.1f %9.1f   %-7.2f %-17s (%.2f)",
                         series.subject.c_str(), f.median, f.p10, f.p99, f.min, f.mean, r.all,
                         spread, r.p10);
      if (slow != nullptr)
        (void)std::fprintf(out, "    %.2f", figures_of_all(*slow).median / f.median);
      (void)std::fputc('\n', out);
    }
    print_doubt(out, comparison);
    (void)std::fputc('\n', out);
  }
}

void print_json(std::FILE* out, const std::vector<Comparison>& results,
                const std::string& against) {
  (void)std::fprintf(out, "{\"unit\": \"us\", \"against\": \"%s\", \"commands\": [",
                     against.c_str());
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Comparison& comparison = results[i];
    const Series* slow = find(comparison, against);
    (void)std::fprintf(out, "%s\n {\"command\": \"%s\", \"floor\": \"%s\", \"subjects\": [",
                       i == 0 ? "" : ",", comparison.command.c_str(),
                       comparison.series.front().subject.c_str());
    for (std::size_t k = 0; k < comparison.series.size(); ++k) {
      const Series& series = comparison.series[k];
      const Figures f = figures_of_all(series);
      const Ratio r = ratio(series, comparison.series.front());
      (void)std::fprintf(out,
                         "%s\n  {\"subject\": \"%s\", \"median\": %.2f, \"p10\": %.2f, \"p99\": "
                         "%.2f, \"min\": %.2f, "
                         "\"mean\": %.2f, \"to_floor\": %.3f, \"to_floor_lower_quartile\": %.3f, "
                         "\"to_floor_upper_quartile\": %.3f, \"to_floor_p10\": %.3f",
                         k == 0 ? "" : ",", series.subject.c_str(), f.median, f.p10, f.p99, f.min,
                         f.mean, r.all, r.lower_quartile, r.upper_quartile, r.p10);
      if (slow != nullptr)
        (void)std::fprintf(out, ", \"times_as_fast\": %.3f",
                           figures_of_all(*slow).median / f.median);
      (void)std::fputc('}', out);
    }
    (void)std::fputs("]}", out);
  }
  (void)std::fputs("]}\n", out);
}

}  // namespace bench
