#include "bench/training.h"

#include <algorithm>

#include "mose/bench/timing.h"
#include "mose/core/random.h"
#include "mose/optim/clip.h"

namespace mose::bench {
namespace {

std::vector<optim::NamedParameter> named(const ShapeR& shape) {
  std::vector<optim::NamedParameter> list;
  for (const auto& [name, tensor] : shape.parameters) list.push_back({name, tensor});
  return list;
}

}  // namespace

data::Batch make_batch(const std::vector<int64_t>& lengths, int64_t vocabulary, int64_t padded) {
  RandomStream random(5, "bench/train");
  std::vector<int64_t> tokens, targets, rows;
  data::Batch batch;
  for (const int64_t length : lengths) {
    const size_t begin = tokens.size();
    for (int64_t i = 0; i < length; ++i) tokens.push_back(random.integer(0, vocabulary - 1));
    rows.push_back(std::max(padded, length));
    tokens.resize(begin + static_cast<size_t>(rows.back()), 0);
    targets.resize(tokens.size(), -100);
    const int64_t supervised = length / 4;
    for (int64_t i = length - supervised; i < length; ++i) {  // by the row that predicts
      targets[begin + static_cast<size_t>(i) - 1] = tokens[begin + static_cast<size_t>(i)];
    }
    batch.supervised += supervised;
  }
  batch.plan = nn::make_plan(rows);
  batch.tokens_T = torch::tensor(tokens, torch::kInt64);
  batch.targets_T = torch::tensor(targets, torch::kInt64);
  batch.segments_T = torch::full_like(batch.tokens_T, -1);
  batch.labels.stage_weight_T = batch.labels.skill_weight_T = torch::zeros({batch.plan.tokens()});
  batch.samples = static_cast<int64_t>(lengths.size());
  return batch;
}

OurTraining::OurTraining(ShapeR shape, const data::Batch& batch) : shape_(std::move(shape)), optimizer_(named(shape_), {}) { use(batch); }

void OurTraining::use(const data::Batch& batch) {
  whole_ = train::normalisers(batch, weights_);
  batch_ = data::to_device(batch, shape_.model->device());
}

double OurTraining::loss() {
  const torch::NoGradGuard no_grad;
  return train::batch_loss(*shape_.model, batch_, weights_, whole_).report.total.item<double>();
}

double OurTraining::step() {
  double loss = 0;
  const double seconds = wall_seconds([&] {
    auto result = train::batch_loss(*shape_.model, batch_, weights_, whole_);
    result.loss.backward();
    optim::clip_gradients(optimizer_.parameters(), kClip);
    optimizer_.step(kLearningRate);
    optimizer_.zero_grad();
    loss = result.report.total.item<double>();
  });
  losses.push_back(loss);
  return seconds;
}

}  // namespace mose::bench
