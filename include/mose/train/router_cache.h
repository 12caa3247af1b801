// Router pretraining over cached activations. Right after upcycling all experts of a layer are equal,
// so no layer's input depends on a router: one pass of the frozen model gives every router's inputs,
// and all routers then train on them as independent problems, without the model.
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

#include "mose/data/batch.h"
#include "mose/models/vlm.h"
#include "mose/moe/routing.h"
#include "mose/train/losses.h"

namespace mose::train {

struct RouterCache {
  std::vector<torch::Tensor> inputs_ND;  // one a sparse layer
  moe::RouterLabels labels;              // of the N rows

  int64_t rows() const { return inputs_ND.empty() ? 0 : inputs_ND.front().size(0); }
};

// Keeps the labelled rows of batches from `next` until `max_rows` are there or `next` returns false.
RouterCache collect_router_inputs(models::VisionLanguageModel& model,
                                  const std::function<bool(data::Batch&)>& next, int64_t max_rows);

// The weighted router loss of some cached rows: what `batch_loss` computes of them, averaged over layers.
struct CachedLoss {
  torch::Tensor loss;
  LossReport report;
};
CachedLoss cached_router_loss(const models::VisionLanguageModel& model, const RouterCache& cache,
                              const torch::Tensor& rows, const StepWeights& weights);

}  // namespace mose::train
