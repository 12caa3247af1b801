#include "mose/bench/allocations.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/infer/generator.h"
#include "support/tiny_model.h"

namespace mose::bench {
namespace {

TEST(Allocations, AreCountedWhileTheWorkRuns) {
  torch::Tensor kept;
  EXPECT_EQ(tensors_allocated([] {}), 0);
  EXPECT_EQ(tensors_allocated([&] {
              kept = torch::empty({3});
              torch::empty({2, 2}, torch::kInt64);
              kept.view({1, 3});  // no memory of its own
            }),
            2);
  kept = torch::Tensor();
  EXPECT_EQ(tensors_allocated([] { torch::empty({5}); }), 1);
}

// New tensors of a step of decoding, whatever the number of layers: those of a longer answer less those of a shorter one.
double a_token(const models::Config& config, torch::Dtype type, bool int8) {
  const auto model = models::make_model(config, 1, config.language.moe ? &tests::taxonomy() : nullptr);
  model->to(type);
  if (int8) model->use_int8_weights();
  const auto of = [&](int64_t tokens) {
    infer::GenerateOptions options;
    options.sampling.max_new_tokens = tokens;
    return tensors_allocated([&] { infer::generate(*model, {{{5, 6, 7}, {}}, {{8, 9}, {}}}, options); });
  };
  of(2);
  return static_cast<double>(of(40) - of(20)) / 20;
}

TEST(Allocations, AStepOfDecodingMakesNoTensor) {
  for (const std::string router : {"", "topk", "hierarchical_skill"}) {
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      for (const bool int8 : {false, true}) {
        auto config = tests::tiny_config();
        if (!router.empty()) config.language.moe = tests::tiny_moe(router);
        EXPECT_EQ(a_token(config, type, int8), 0) << router << " " << type << (int8 ? " int8" : "");
      }
    }
  }
}

}  // namespace
}  // namespace mose::bench
