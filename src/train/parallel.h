// What the processes of a run agree on in every step. With one process nothing is sent.
#pragma once

#include "mose/dist/communicator.h"
#include "mose/models/vlm.h"
#include "mose/train/losses.h"

namespace mose::train {

// What all processes' parts of the global batch are divided by, and whether one of them was asked to stop (the
// number of the signal, or 0): all act on it in the same step.
struct StepStart {
  Normalisers whole;
  int signal = 0;
};
StepStart start_step(dist::Communicator& world, const Normalisers& own, int signal);

// The report of the global batch from those of the processes' parts, added in order of ranks.
void sum_reports(dist::Communicator& world, LossReport& report, torch::Device device);

// Rank 0's weights for all.
void share_weights(dist::Communicator& world, const models::VisionLanguageModel& model);

}  // namespace mose::train
