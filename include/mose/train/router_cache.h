// Router pretraining over cached activations. Right after upcycling all experts of a layer are equal,
// so no layer's input depends on a router: one pass of the frozen model gives every router's inputs,
// and all routers then train on them as independent problems, without the model.
#pragma once

#include <torch/types.h>

#include <vector>

#include "mose/data/batch.h"
#include "mose/dist/communicator.h"
#include "mose/models/vlm.h"
#include "mose/moe/routing.h"
#include "mose/train/losses.h"

namespace mose::train {

struct RouterCache {
  std::vector<torch::Tensor> inputs_ND;  // one a sparse layer
  moe::RouterLabels labels;              // of the N rows

  int64_t rows() const { return inputs_ND.empty() ? 0 : inputs_ND.front().size(0); }
};

// The labelled rows of a batch: one forward pass.
RouterCache router_inputs(models::VisionLanguageModel& model, const data::Batch& batch);
// Every process's rows, in order of ranks. One that has none gives a cache without tensors.
std::vector<RouterCache> gather_caches(dist::Communicator& world, const RouterCache& own);
// One after the other, at most `max_rows`. DataError where there is none.
RouterCache join_caches(const std::vector<RouterCache>& parts, int64_t max_rows);

// The weighted router loss of some cached rows: what `batch_loss` computes of them, averaged over layers.
struct CachedLoss {
  torch::Tensor loss;
  LossReport report;
};
CachedLoss cached_router_loss(const models::VisionLanguageModel& model, const RouterCache& cache,
                              const torch::Tensor& rows, const StepWeights& weights);

}  // namespace mose::train
