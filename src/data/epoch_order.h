// Which samples make up the batches of an epoch: a function of the seed and the epoch alone.
#pragma once

#include <cstdint>
#include <vector>

#include "mose/data/loader.h"

namespace mose::data {

using EpochOrder = std::vector<std::vector<int32_t>>;  // sample indices by batch

// What batching needs to know of each sample.
struct OrderInput {
  std::vector<int64_t> lengths;  // rows
  std::vector<int32_t> task;     // index into weights
  std::vector<double> weights;   // by task: how often its samples occur in an epoch
};

// UsageError when the mix is malformed, names a task that no sample has, or leaves nothing.
OrderInput order_input(const std::vector<Encoded>& samples, const Json& mix);

EpochOrder epoch_order(const OrderInput& input, const LoaderConfig& config, uint64_t seed,
                       int64_t epoch);

}  // namespace mose::data
