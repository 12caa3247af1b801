// Adapters on stacked experts.
#include <gtest/gtest.h>

#include "moe/swiglu.h"
#include "moe_test_util.h"
#include "mose/nn/lora.h"

namespace mose::moe {
namespace {

using testing::largest_difference;
using torch::Tensor;

nn::Adapters attach_trained(Experts& experts, const std::vector<std::string>& targets) {
  for (auto& p : experts.parameters()) p.set_requires_grad(false);
  nn::LoraConfig config;
  config.rank = 3;
  config.alpha = 2;
  config.targets = targets;
  auto adapters = nn::attach_lora(experts, config, 1);
  const torch::NoGradGuard no_grad;
  for (auto& [name, lora] : adapters) lora->B.normal_();
  return adapters;
}

class ExpertsLora : public ::testing::TestWithParam<ExpertForm> {
 protected:
  static constexpr int64_t kWidth = 7, kIntermediate = 5;
  const std::vector<int64_t> counts_ = {0, 4, 0, 9, 1};  // experts without rows, the first among them
  std::shared_ptr<Experts> make() {
    torch::manual_seed(2);
    auto experts = make_experts(5, kWidth, kIntermediate, GetParam());
    experts->to(torch::kFloat64);
    return experts;
  }
  std::vector<std::string> all() const {
    if (GetParam() == ExpertForm::kGelu) return {"fc1", "fc2"};
    return {"gate_up_proj", "down_proj"};
  }
};

INSTANTIATE_TEST_SUITE_P(Forms, ExpertsLora, ::testing::Values(ExpertForm::kSwiglu, ExpertForm::kGelu));

TEST_P(ExpertsLora, AttachingChangesNothing) {
  auto experts = make();
  const Tensor rows = torch::randn({14, kWidth}, torch::kFloat64);
  const Tensor before = experts->forward(rows, counts_).detach();
  nn::LoraConfig config;
  config.targets = all();
  nn::attach_lora(*experts, config, 1);
  EXPECT_TRUE(torch::equal(experts->forward(rows, counts_), before));
}

// Rows through their expert's own matrices, W + scale B A written out, one by one under autograd.
TEST_P(ExpertsLora, OutputsAndGradientsAreThoseOfEachExpertsMergedWeights) {
  auto experts = make();
  auto adapters = attach_trained(*experts, all());
  const bool gelu = GetParam() == ExpertForm::kGelu;
  const auto& first = *adapters[all()[0]];
  const auto& second = *adapters[all()[1]];
  const Tensor rows = torch::randn({14, kWidth}, torch::kFloat64).requires_grad_(), grad = torch::randn({14, kWidth}, torch::kFloat64);
  const auto parameters = experts->named_parameters();
  const auto weight = [&](const nn::Lora& lora, size_t which, int64_t e) {
    const Tensor w = parameters[all()[which] + (gelu ? ".weight" : "")];
    return w[e] + 2.0 / 3 * at::mm(lora.B[e], lora.A[e]);
  };
  std::vector<Tensor> want;
  int64_t row = 0;
  for (int64_t e = 0; e < 5; ++e) {
    for (int64_t i = 0; i < counts_[static_cast<size_t>(e)]; ++i, ++row) {
      const Tensor pre = at::mv(weight(first, 0, e), rows[row]);
      const Tensor hidden = gelu ? at::gelu(pre + parameters["fc1.bias"][e], "tanh")
                                 : at::silu(pre.narrow(0, 0, kIntermediate)) * pre.narrow(0, kIntermediate, kIntermediate);
      const Tensor y = at::mv(weight(second, 1, e), hidden);
      want.push_back(gelu ? y + parameters["fc2.bias"][e] : y);
    }
  }
  const std::vector<Tensor> inputs = {rows, first.A, first.B, second.A, second.B};
  const Tensor out = experts->forward(rows, counts_), expected = torch::stack(want);
  EXPECT_LT(largest_difference(out, expected), 1e-12);
  const auto ours = torch::autograd::grad({out}, inputs, {grad}), theirs = torch::autograd::grad({expected}, inputs, {grad});
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_LT(largest_difference(ours[i], theirs[i]), 1e-11) << i;
  EXPECT_EQ(ours[1][0].abs().max().item<double>(), 0);  // an expert without rows
  EXPECT_TRUE(torch::equal(experts->forward(rows, counts_), out));
}

TEST_P(ExpertsLora, MergedComputesTheSame) {
  auto experts = make();
  const Tensor rows = torch::randn({14, kWidth}, torch::kFloat64);
  for (const auto& targets : {std::vector{all()[0]}, std::vector{all()[1]}, all()}) {
    attach_trained(*experts, targets);
    const Tensor before = experts->forward(rows, counts_).detach();
    nn::merge_lora(*experts);
    EXPECT_LT(largest_difference(experts->forward(rows, counts_), before), 1e-12);
  }
}

TEST_P(ExpertsLora, NoRowsAtAll) {
  auto experts = make();
  attach_trained(*experts, all());
  EXPECT_EQ(experts->forward(torch::zeros({0, kWidth}, torch::kFloat64), {0, 0, 0, 0, 0}).sizes(), (std::vector<int64_t>{0, kWidth}));
}

// What gradients of frozen weights would need is not kept for the backward pass.
TEST(FrozenExperts, KeepNoRows) {
  const Tensor gate_up = torch::randn({2, 6, 4}), down = torch::randn({2, 4, 3});
  const auto holders = [&](bool train) {
    const Tensor rows = torch::randn({5, 4}).requires_grad_() * 1;
    const auto before = rows.use_count();
    const Tensor out = stacked_swiglu(rows, gate_up.detach().requires_grad_(train), down, {2, 3}, GroupedProduct::kLoop);
    return rows.use_count() - before;
  };
  EXPECT_EQ(holders(false), 0u);
  EXPECT_GT(holders(true), 0u);
}

}  // namespace
}  // namespace mose::moe
