#include <gtest/gtest.h>

#include "moe_test_util.h"
#include "mose/core/error.h"
#include "mose/moe/losses.h"
#include "support/devices.h"

namespace mose::moe {
namespace {

using testing::config_of;
using testing::largest_difference;
using testing::make_taxonomy;
using torch::Tensor;

constexpr int64_t kWidth = 16, kIntermediate = 24;

SkillMap map_of(const Config& config) { return make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2, 2, 2}, 3)); }

Tensor swiglu(const Tensor& x, const Tensor& gate_up, const Tensor& down) {
  const int64_t f = down.size(1);
  const Tensor pre = at::linear(x, gate_up);
  return at::linear(torch::silu(pre.narrow(1, 0, f)) * pre.narrow(1, f, f), down);
}

// Every expert runs on every token; unchosen ones are multiplied by 0.
Tensor masked_dense(const MoeLayer& layer, const Routing& routing, const Tensor& x) {
  const auto p = layer.named_parameters();
  const Tensor gate_up = p["experts.gate_up_proj"], down = p["experts.down_proj"];
  const Tensor weight_TE = torch::zeros({x.size(0), gate_up.size(0)}).scatter(1, routing.experts_TK, routing.weights_TK);
  Tensor y = torch::zeros_like(x);
  for (int64_t e = 0; e < gate_up.size(0); ++e) {
    y = y + weight_TE.narrow(1, e, 1).to(x.scalar_type()) * swiglu(x, gate_up[e], down[e]);
  }
  return y;
}

class MoeLayerOfEveryRouter : public ::testing::TestWithParam<std::string> {};

TEST_P(MoeLayerOfEveryRouter, EqualsTheMaskedDenseFormForwardAndBackward) {
  for (const int64_t shared : {0, 2}) {
    torch::manual_seed(1);
    const Config config = config_of(GetParam(), 6, GetParam() == "deepspeed095" ? 2 : 3, shared);
    MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
    const Tensor x = torch::randn({40, kWidth}).requires_grad_();
    const auto [y, routing] = layer.forward(x);
    const Tensor want = masked_dense(layer, routing, x);
    EXPECT_LT(largest_difference(y, want), 1e-5);
    std::vector<Tensor> in = layer.parameters();
    in.push_back(x);
    const Tensor grad = torch::randn_like(x);
    const auto ours = torch::autograd::grad({y}, in, {grad}, /*retain_graph=*/true);
    const auto theirs = torch::autograd::grad({want}, in, {grad});
    for (size_t i = 0; i < in.size(); ++i) EXPECT_LT(largest_difference(ours[i], theirs[i]), 1e-4) << i;
  }
}

TEST_P(MoeLayerOfEveryRouter, EqualExpertsComputeTheDenseFfn) {
  torch::manual_seed(2);
  const Config config = config_of(GetParam());
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const Tensor gate_up = torch::randn({2 * kIntermediate, kWidth}) / 4, down = torch::randn({kWidth, kIntermediate}) / 5;
  {
    const torch::NoGradGuard no_grad;
    layer.named_parameters()["experts.gate_up_proj"].copy_(gate_up.expand({5, -1, -1}));
    layer.named_parameters()["experts.down_proj"].copy_(down.expand({5, -1, -1}));
  }
  const Tensor x = torch::randn({64, kWidth});
  EXPECT_LT(largest_difference(layer.forward(x).first, swiglu(x, gate_up, down)), 2e-6);
}

TEST_P(MoeLayerOfEveryRouter, RepeatsBitForBit) {
  torch::manual_seed(3);
  const Config config = config_of(GetParam());
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const Tensor x = torch::randn({200, kWidth}).requires_grad_();
  std::vector<Tensor> in = layer.parameters();
  in.push_back(x);
  const Tensor grad = torch::randn_like(x);
  const Tensor first = layer.forward(x).first, second = layer.forward(x).first;
  EXPECT_TRUE(torch::equal(first, second));
  const auto a = torch::autograd::grad({first}, in, {grad}), b = torch::autograd::grad({second}, in, {grad});
  for (size_t i = 0; i < in.size(); ++i) EXPECT_TRUE(torch::equal(a[i], b[i]));
}

// A token's result depends on no other token: one by one as in decoding, or none at all.
TEST_P(MoeLayerOfEveryRouter, TokensAloneGiveWhatTheBatchGives) {
  torch::manual_seed(4);
  const Config config = config_of(GetParam());
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const torch::NoGradGuard no_grad;
  const Tensor x = torch::randn({20, kWidth}), y = layer.forward(x).first;
  for (int64_t t = 0; t < 20; ++t) {
    EXPECT_LT(largest_difference(layer.forward(x.narrow(0, t, 1)).first, y.narrow(0, t, 1)), 1e-6);
  }
  EXPECT_EQ(layer.forward(x.narrow(0, 0, 0)).first.sizes(), torch::IntArrayRef({0, kWidth}));
}

TEST_P(MoeLayerOfEveryRouter, GradientReachesRouterAndInput) {
  torch::manual_seed(5);
  const Config config = config_of(GetParam());
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const Tensor x = torch::randn({64, kWidth}).requires_grad_();
  layer.forward(x).first.square().sum().backward();
  for (const auto& item : layer.named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_GT(item.value().grad().abs().sum().item<double>(), 0) << item.key();
  }
  EXPECT_GT(x.grad().abs().sum().item<double>(), 0);
}

TEST_P(MoeLayerOfEveryRouter, WorksInBfloat16) {
  torch::manual_seed(6);
  const Config config = config_of(GetParam());
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const Tensor x = torch::randn({32, kWidth}).to(torch::kBFloat16);
  layer.to(torch::kBFloat16);
  const auto [y, routing] = layer.forward(x);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(routing.weights_TK.scalar_type(), torch::kFloat32);
  layer.to(torch::kFloat32);
  EXPECT_LT(largest_difference(y, layer.forward(x.to(torch::kFloat32)).first), 0.02);
}

INSTANTIATE_TEST_SUITE_P(Routers, MoeLayerOfEveryRouter, ::testing::ValuesIn(router_names()),
                         [](const auto& info) { return info.param; });

TEST(MoeLayer, OneExpertMayTakeEveryToken) {
  torch::manual_seed(7);
  const Config config = config_of("topk", 4, 1);
  MoeLayer layer(config, kWidth, kIntermediate, {});
  {
    const torch::NoGradGuard no_grad;
    layer.named_parameters()["gate.weight"].zero_();
    layer.named_parameters()["gate.weight"][2].fill_(1);
  }
  const Tensor x = torch::rand({100, kWidth}) + 0.1;
  const auto [y, routing] = layer.forward(x);
  EXPECT_TRUE((routing.experts_TK == 2).all().item<bool>());
  const auto p = layer.named_parameters();
  EXPECT_LT(largest_difference(y, swiglu(x, p["experts.gate_up_proj"][2], p["experts.down_proj"][2])), 1e-5);
  y.sum().backward();
  const Tensor grad = p["experts.down_proj"].grad();
  EXPECT_EQ(grad[0].abs().sum().item<double>(), 0);
  EXPECT_GT(grad[2].abs().sum().item<double>(), 0);
}

TEST(MoeLayer, ParametersHaveTheNamesOfTransformers) {
  Config config = config_of("topk");
  EXPECT_EQ(MoeLayer(config, kWidth, kIntermediate, {}).named_parameters().keys(),
            (std::vector<std::string>{"gate.weight", "experts.gate_up_proj", "experts.down_proj"}));
  config = config_of("hierarchical_skill", 5, 2, 1);
  config.intermediate = 10;
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  EXPECT_EQ(layer.named_parameters().keys(),
            (std::vector<std::string>{"gate.stage.weight", "gate.skill.weight", "gate.shared.weight",
                                      "experts.gate_up_proj", "experts.down_proj"}));
  EXPECT_EQ(layer.named_parameters()["experts.down_proj"].size(2), 10);
}

TEST(MoeLayer, RefusesInputsOfAnotherWidth) {
  MoeLayer layer(config_of("topk"), kWidth, kIntermediate, {});
  EXPECT_THROW(layer.forward(torch::randn({3, kWidth + 1})), Error);
  EXPECT_THROW(layer.forward(torch::randn({kWidth})), Error);
  EXPECT_THROW(layer.forward(torch::ones({3, kWidth}, torch::kInt64)), Error);
}

TEST(MoeLayer, AddsTheGatedSharedExpert) {
  torch::manual_seed(8);
  Config config = config_of("topk");
  config.shared_ffn = 10;
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const Tensor x = torch::randn({12, kWidth});
  const auto [y, routing] = layer.forward(x);
  const auto p = layer.named_parameters();
  const Tensor hidden = torch::silu(at::linear(x, p["shared_expert.gate_proj.weight"])) * at::linear(x, p["shared_expert.up_proj.weight"]);
  const Tensor shared = at::linear(hidden, p["shared_expert.down_proj.weight"]);
  const Tensor want = masked_dense(layer, routing, x) + torch::sigmoid(at::linear(x, p["shared_expert_gate.weight"])) * shared;
  EXPECT_LT(largest_difference(y, want), 1e-5);
}

TEST(MoeLayer, KeepsRawProbabilitiesWhenToldTo) {
  torch::manual_seed(9);
  Config config = config_of("topk", 5, 3);
  config.normalise_top_k = false;
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config));
  const Routing routing = layer.forward(torch::randn({12, kWidth})).second;
  EXPECT_TRUE(torch::equal(routing.weights_TK, routing.probabilities_TE.gather(1, routing.experts_TK)));
  EXPECT_LT(routing.weights_TK.sum(1).max().item<double>(), 1);
}

// Phi's experts against every expert on every token.
TEST(MoeLayer, GeluExpertsEqualTheMaskedDenseFormForwardAndBackward) {
  torch::manual_seed(10);
  const Config config = config_of("topk", 6, 2);
  MoeLayer layer(config, kWidth, kIntermediate, map_of(config), ExpertForm::kGelu);
  const auto p = layer.named_parameters();
  {
    const torch::NoGradGuard no_grad;
    for (const char* bias : {"experts.fc1.bias", "experts.fc2.bias"}) p[bias].normal_();
  }
  const Tensor x = torch::randn({4, kWidth}).requires_grad_();  // fewer tokens than experts: some have none
  const auto [y, routing] = layer.forward(x);
  const Tensor weight_TE = torch::zeros({4, 6}).scatter(1, routing.experts_TK, routing.weights_TK);
  Tensor want = torch::zeros_like(x);
  for (int64_t e = 0; e < 6; ++e) {
    const Tensor hidden = at::gelu(at::linear(x, p["experts.fc1.weight"][e], p["experts.fc1.bias"][e]), "tanh");
    want = want + weight_TE.narrow(1, e, 1) * at::linear(hidden, p["experts.fc2.weight"][e], p["experts.fc2.bias"][e]);
  }
  EXPECT_LT(largest_difference(y, want), 1e-5);
  const std::vector<Tensor> in{x, p["experts.fc1.weight"], p["experts.fc2.bias"], p["gate.weight"]};
  const Tensor grad = torch::randn_like(x);
  const auto ours = torch::autograd::grad({y}, in, {grad}, true), theirs = torch::autograd::grad({want}, in, {grad});
  for (size_t i = 0; i < in.size(); ++i) EXPECT_LT(largest_difference(ours[i], theirs[i]), 1e-4) << i;
}

// The same layer and rows in float32 on the CPU, and in bfloat16 on the device, where a GPU multiplies all experts at once.
class MoeLayerInBfloat16 : public OnDevice {};
MOSE_ON_DEVICES(MoeLayerInBfloat16);

TEST_P(MoeLayerInBfloat16, IsCloseToFloat32AndRepeatsBitForBit) {
  for (const std::string router : {"topk", "skill", "hierarchical_skill"}) {
    for (const bool flood : {false, true}) {
      torch::manual_seed(6);
      const Config config = config_of(router, 6, 2);
      MoeLayer exact(config, kWidth, kIntermediate, map_of(config)), layer(config, kWidth, kIntermediate, map_of(config));
      const torch::Tensor x = torch::randn({300, kWidth}).to(torch::kBFloat16), grad = torch::randn({300, kWidth}).to(torch::kBFloat16);
      {
        const torch::NoGradGuard no_grad;
        for (auto& p : exact.parameters()) p.copy_(p.to(torch::kBFloat16));
        for (auto& item : exact.named_parameters()) {
          if (flood && item.key().starts_with("gate.")) item.value().zero_();  // equal probabilities: two experts take all rows
          layer.named_parameters()[item.key()].copy_(item.value());
        }
      }
      layer.to(device(), torch::kBFloat16);
      // The result, and the gradients of x, the experts and the router.
      const auto run = [&](MoeLayer& of, torch::Device where, torch::Dtype type) {
        std::vector<Tensor> in{x.to(where, type).detach().requires_grad_()};
        for (const Tensor& p : of.parameters()) in.push_back(p);
        const Tensor y = of.forward(in[0]).first;
        std::vector<Tensor> out = torch::autograd::grad({y}, in, {grad.to(where, type)});
        out.push_back(y.detach());
        for (Tensor& t : out) t = t.cpu();
        return out;
      };
      const auto want = run(exact, torch::kCPU, torch::kFloat32), ours = run(layer, device(), torch::kBFloat16),
                 again = run(layer, device(), torch::kBFloat16);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_TRUE(torch::equal(ours[i], again[i])) << router << " " << i;
        EXPECT_LT(largest_difference(ours[i], want[i]) / std::max(1.0, want[i].abs().max().item<double>()), 0.05) << router << " " << i;
      }
    }
  }
}

// Without gradient a GPU has kernels of its own for few tokens; 17 are no longer few.
TEST_P(MoeLayerInBfloat16, FewTokensWithoutGradientAreCloseToFloat64AndRepeatBitForBit) {
  const torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const bool flood : {false, true}) {
      torch::manual_seed(7);
      const Config config = config_of("topk", 6, 2);
      MoeLayer exact(config, kWidth, kIntermediate, map_of(config)), layer(config, kWidth, kIntermediate, map_of(config));
      for (auto& item : exact.named_parameters()) {
        item.value().copy_(item.value().to(type));
        if (flood && item.key().starts_with("gate.")) item.value().zero_();
        layer.named_parameters()[item.key()].copy_(item.value());
      }
      exact.to(torch::kFloat64);
      layer.to(device(), type);
      for (const int64_t tokens : {1, 2, 5, 16, 17}) {
        const Tensor x = torch::randn({tokens, kWidth}).to(type), here = x.to(device());
        const Tensor want = exact.forward(x.to(torch::kFloat64)).first, ours = layer.forward(here).first, again = layer.forward(here).first;
        EXPECT_TRUE(torch::equal(ours, again)) << tokens;
        EXPECT_LT(largest_difference(ours.cpu(), want) / std::max(1.0, want.abs().max().item<double>()), type == torch::kFloat32 ? 1e-5 : 0.02) << tokens;
      }
    }
  }
}

}  // namespace
}  // namespace mose::moe
