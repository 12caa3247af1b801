#include "mose/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::optim {

double schedule_value(const ScheduleConfig& config, int64_t step, int64_t total) {
  if (step < 0 || total < 1) {
    throw Error(str("schedule: step ", step, " of ", total, " steps"));
  }
  int64_t warmup = config.warmup_steps;
  if (warmup == 0) {
    warmup = std::llround(config.warmup_fraction * static_cast<double>(total));
  }
  if (step < warmup) {
    const double done = static_cast<double>(step + 1) / static_cast<double>(warmup);
    return config.value * (config.start_ratio + (1 - config.start_ratio) * done);
  }
  const auto course = static_cast<double>(std::max<int64_t>(1, total - 1 - warmup));
  const double progress = std::clamp(static_cast<double>(step - warmup) / course, 0.0, 1.0);
  const double last = config.final_ratio;
  if (config.kind == "constant") return config.value;
  if (config.kind == "linear") return config.value * (1 + (last - 1) * progress);
  if (config.kind == "cosine") {
    return config.value * (last + (1 - last) * (1 + std::cos(std::numbers::pi * progress)) / 2);
  }
  throw UsageError(str("schedule.kind: expected constant, linear or cosine, found \"", config.kind, "\""));
}

}  // namespace mose::optim
