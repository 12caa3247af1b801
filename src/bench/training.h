// Training steps of ours on random tokens, for the benchmarks that time them.
#pragma once

#include <vector>

#include "bench/shape_r.h"
#include "mose/data/batch.h"
#include "mose/optim/adamw.h"
#include "mose/train/losses.h"

namespace mose::bench {

inline constexpr double kLearningRate = 1e-4, kClip = 1;

// Random tokens of samples of these lengths, the last quarter of each supervised. With `padded` > 0 each sample goes on
// with tokens 0, which nothing supervises, up to that length; the others are the same ones.
data::Batch make_batch(const std::vector<int64_t>& lengths, int64_t vocabulary, int64_t padded = 0);

// Forward, backward, clipping and AdamW, over and over on one batch. bfloat16 models have float32 master weights.
class OurTraining {
 public:
  OurTraining(ShapeR shape, const data::Batch& batch);
  void use(const data::Batch& batch);  // from now on, on the model's device
  double loss();  // of the batch, without a step
  double step();  // the seconds it took
  std::vector<double> losses;  // of every step so far

 private:
  ShapeR shape_;
  data::Batch batch_;
  train::StepWeights weights_;
  train::Normalisers whole_;
  optim::AdamW optimizer_;
};

}  // namespace mose::bench
