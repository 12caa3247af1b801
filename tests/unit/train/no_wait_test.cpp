// A training step on a GPU gives the device its work and waits for nothing.
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/data/batch.h"
#include "mose/nn/sequence_plan.h"
#include "mose/optim/adamw.h"
#include "mose/optim/clip.h"
#include "mose/train/losses.h"
#include "support/tiny_model.h"

namespace mose::train {
namespace {

// While it lives, whatever makes the host wait for the device throws.
struct NoWaiting {
  NoWaiting() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR); }
  ~NoWaiting() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED); }
};

data::Batch make_batch(int64_t image_rows) {
  const int64_t samples = 4, length = 16, T = samples * length,
                skills = static_cast<int64_t>(tests::taxonomy().skills().size());
  data::Batch b;
  b.tokens_T = torch::randint(0, 290, {T});
  b.targets_T = torch::full({T}, -100, torch::kInt64);
  b.segments_T = torch::full({T}, -1, torch::kInt64);
  b.labels = {torch::zeros({T, 3}), torch::zeros({T}), torch::zeros({T, skills}), torch::zeros({T})};
  for (int64_t row = 0; row < T; ++row) {
    if (row % length < image_rows) b.tokens_T[row] = 299;
    if (row % length < 8) continue;
    b.targets_T[row] = row % 290;
    b.segments_T[row] = row % 3;
    b.labels.stage_TG[row][row % 3] = b.labels.stage_weight_T[row] = 1;
    b.labels.skill_TS[row][row % skills] = b.labels.skill_weight_T[row] = 1;
    ++b.supervised;
  }
  b.plan = nn::make_plan(std::vector<int64_t>(samples, length));
  b.pixels_BCHW = torch::randn({samples, 3, 32, 64});
  b.layouts.assign(samples, {image_rows});
  b.samples = samples;
  return b;
}

TEST(StepOnAGpu, DoesNotMakeTheHostWait) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  auto config = tests::tiny_config();
  config.language.hidden_size = config.language.intermediate_size = 32;  // whole 16 bytes: all experts in one product
  config.language.moe = tests::tiny_moe();
  auto model = models::make_model(config, 1, &tests::taxonomy());
  model->to(torch::kCUDA, torch::kBFloat16);
  std::vector<optim::NamedParameter> parameters;
  for (auto& item : model->named_parameters()) parameters.push_back({item.key(), item.value()});
  optim::AdamW optimizer(parameters, {});
  StepWeights weights;
  weights.lm = weights.skill = weights.stage = weights.balance = weights.z = 1;
  const data::Batch host = make_batch(config.image_tokens()), batch = data::to_device(host, torch::kCUDA);
  const Normalisers whole = normalisers(host, weights);
  const auto step = [&] {
    const auto result = batch_loss(*model, batch, weights, whole);
    result.loss.backward();
    optim::clip_gradients(parameters, 1.0);
    optimizer.step(1e-3);
    optimizer.zero_grad();
    return result.loss.detach();
  };
  const torch::Tensor first = step();  // libraries may wait while they start
  torch::Tensor last;
  {
    const NoWaiting guard;
    EXPECT_THROW(first.item<double>(), c10::Error);  // the guard sees a wait
    for (int i = 0; i < 5; ++i) last = step();
  }
  EXPECT_LT(last.item<double>(), first.item<double>());
}

}  // namespace
}  // namespace mose::train
