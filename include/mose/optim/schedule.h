// Values that change over a run: learning rates and loss weights.
#pragma once

#include <cstdint>
#include <string>

#include "mose/core/config.h"

namespace mose::optim {

struct ScheduleConfig {
  std::string kind = "constant";
  double value = 1.0;        // after the warm-up
  int64_t warmup_steps = 0;
  double warmup_fraction = 0;  // of all steps, used where warmup_steps is 0
  double start_ratio = 0;
  double final_ratio = 0;

  void visit(FieldVisitor& v) {
    v.field("kind", kind, "course after the warm-up", {"constant", "linear", "cosine"});
    v.field("value", value, "value after the warm-up", 0, 1e6);
    v.field("warmup_steps", warmup_steps, "steps of linear warm-up; 0 takes warmup_fraction", 0,
            1 << 30);
    v.field("warmup_fraction", warmup_fraction, "warm-up as a fraction of all steps", 0, 1);
    v.field("start_ratio", start_ratio, "where the warm-up starts, as a ratio of value", 0, 1000);
    v.field("final_ratio", final_ratio,
            "value of the last step as a ratio of value (linear, cosine)", 0, 1000);
  }
};

// The value of step `step` (from 0) of `total`. With W warm-up steps, s the start and f the final ratio:
//   step < W   value * (s + (1 - s) * (step + 1) / W)
//   after      p = (step - W) / (total - 1 - W), from 0 at the first step to 1 at the last:
//     constant value
//     linear   value * (1 + (f - 1) * p)
//     cosine   value * (f + (1 - f) * (1 + cos(pi * p)) / 2)
// Steps past the last keep its value.
double schedule_value(const ScheduleConfig& config, int64_t step, int64_t total);

}  // namespace mose::optim
