// The end-to-end loss of a batch, and its parts.
#pragma once

#include <torch/types.h>

#include <array>
#include <vector>

#include "mose/data/batch.h"
#include "mose/models/vlm.h"
#include "mose/nn/autocast.h"
#include "mose/train/recipe.h"
#include "mose/train/words.h"

namespace mose::train {

// The weights of LossWeights at one step.
struct StepWeights {
  double lm = 1, skill = 0, stage = 0, balance = 0, z = 0, region = 0, words = 0;
  std::array<double, 3> segments = {1, 1, 1};  // describe, reason, plan
  double region_positive = 8;

  bool routers() const { return skill != 0 || stage != 0 || balance != 0 || z != 0; }
  bool language() const { return lm != 0 || routers(); }
};
StepWeights step_weights(const LossWeights& loss, int64_t step, int64_t steps);

// What the parts of one global batch are divided by, so that computing it in parts changes nothing; the balance loss alone,
// which is no sum over rows, is the mean of the parts' own, weighted by their samples.
struct Normalisers {
  double rows = 0;    // sum of the segment weights of the supervised rows
  double tokens = 0, stage_weight = 0, skill_weight = 0;  // all rows; sums of the labels' weights
  double samples = 0, images = 0;
  WordCounts words;  // counted only where the words loss has a weight
  void add(const Normalisers& other);
};
Normalisers normalisers(const data::Batch& batch, const StepWeights& weights);

// Sums over parts of a batch; every tensor is a detached scalar. NaN where nothing was supervised.
struct LossReport {
  torch::Tensor total, lm, skill, stage, balance, z, region, words;
  std::array<torch::Tensor, 3> segment_sum;   // unweighted sums of the token losses, by segment
  std::array<torch::Tensor, 3> segment_rows;  // and their numbers
  double supervised = 0;
  void add(const LossReport& other);
  // The total and every loss, for what is done to all of them alike.
  std::array<torch::Tensor*, 8> tensors() { return {&total, &lm, &skill, &stage, &balance, &z, &region, &words}; }
};

// Adds each router loss of every sparse layer, divided by the number of layers.
void add_router_losses(const models::VisionLanguageModel& model, const std::vector<moe::Routing>& routings,
                       const moe::RouterLabels& labels, LossReport& report);

// How a forward pass is computed; the first two change values by rounding alone.
struct Compute {
  bool recompute = false;       // the blocks of tower and decoder again in the backward pass
  nn::AutocastState autocast;
  bool route_by_labels = false;  // sparse layers send labelled rows where `oracle_shares` says
};

// Shares of the experts [T, E] that the rows' own labels ask for: skill labels through the assignment; a row that has
// a stage label alone spreads over the stage's skills; rows without labels are 0. A row's label is made from the whole
// answer and so knows a little of the words that follow it.
torch::Tensor oracle_shares(const moe::RouterLabels& labels, const moe::SkillMap& map);

struct BatchLoss {
  torch::Tensor loss;  // carries gradient
  LossReport report;
  std::vector<language::LayerRouting> routings;  // of the sparse layers, where the decoder ran
};

// Forward pass and loss of (a part of) a batch. `whole` are the normalisers of the whole batch; the words
// loss needs `words`.
BatchLoss batch_loss(models::VisionLanguageModel& model, const data::Batch& batch, const StepWeights& weights,
                     const Normalisers& whole, const WordTables* words = nullptr, const Compute& compute = {});

}  // namespace mose::train
