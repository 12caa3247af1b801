// What the processes of a run agree on in every step. With one process nothing is sent.
#pragma once

#include "mose/dist/communicator.h"
#include "mose/train/losses.h"
#include "mose/train/routing_report.h"
#include "train/session.h"

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

// Of all processes together.
void sum_routings(dist::Communicator& world, RoutingSums& routing);

// Rank 0's weights for all, but those of experts that are divided.
void share_weights(Session& session);

}  // namespace mose::train
