#include "mose/dist/expert_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/dist/reducer.h"
#include "mose/optim/clip.h"
#include "support/helpers.h"
#include "support/processes.h"
#include "unit/dist/sparse_model.h"

namespace mose::dist {
namespace {

using tests::kExperts;
using tests::kWidth;
using tests::loss;
using tests::token_shards;
using torch::Tensor;
using Model = tests::SparseModel;

double largest(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return a.numel() == 0 ? 0 : (a - b).abs().max().item<double>();
}

void expect_equal(const std::shared_ptr<Communicator>& world, int64_t group_size, moe::ExpertForm form, bool one_sided) {
  SCOPED_TRACE(mose::str("world ", world->size(), ", groups of ", group_size, one_sided ? ", one-sided" : ""));
  const ExpertGroups groups = make_expert_groups(*world, group_size);
  EXPECT_EQ(groups.parallel->size(), group_size);
  EXPECT_EQ(groups.data->size(), world->size() / group_size);

  const auto shards = token_shards(world->size(), one_sided);
  const Tensor all = torch::cat(shards);
  const auto tokens = static_cast<double>(all.size(0));
  const Model whole(form), mine(form);
  const Tensor expected = whole.forward(all);
  loss(expected, tokens).backward();

  for (const auto& layer : mine.layers) shard_experts(*layer, groups.parallel);
  const auto common = mine.parameters(false), experts = mine.parameters(true);
  GradientReducer reduce_common(common, world), reduce_experts(experts, groups.data);
  reduce_common.arm();
  reduce_experts.arm();
  const Tensor y = mine.forward(shards[static_cast<size_t>(world->rank())]);
  loss(y, tokens).backward();
  reduce_common.finish();
  reduce_experts.finish();

  int64_t first = 0;
  for (int64_t r = 0; r < world->rank(); ++r) first += shards[static_cast<size_t>(r)].size(0);
  EXPECT_LT(largest(y, expected.narrow(0, first, y.size(0))), 1e-6);
  const auto whole_common = whole.parameters(false), all_experts = whole.parameters(true);
  for (size_t i = 0; i < common.size(); ++i) {
    ASSERT_TRUE(common[i].tensor.grad().defined()) << common[i].name;
    EXPECT_LT(largest(common[i].tensor.grad(), whole_common[i].tensor.grad()), 2e-6) << common[i].name;
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    EXPECT_EQ(experts[i].name, all_experts[i].name);
    EXPECT_EQ(experts[i].tensor.size(0), kExperts / group_size);
    EXPECT_TRUE(torch::equal(whole_experts(experts[i].tensor.detach(), *groups.parallel), all_experts[i].tensor));
    const Tensor gradient = experts[i].tensor.grad().defined() ? experts[i].tensor.grad() : torch::zeros_like(experts[i].tensor);
    EXPECT_LT(largest(whole_experts(gradient, *groups.parallel), all_experts[i].tensor.grad()), 2e-6) << experts[i].name;
  }
  auto everything = whole_common;
  everything.insert(everything.end(), all_experts.begin(), all_experts.end());
  EXPECT_NEAR(whole_norm(optim::gradient_norm(common), optim::gradient_norm(experts), *groups.parallel).item<double>() / optim::gradient_norm(everything).item<double>(), 1, 1e-6);

  // Evaluation, without gradients: experts on few rows then have kernels of their own, which sum in another order.
  const torch::NoGradGuard no_grad;
  EXPECT_LT(largest(mine.forward(shards[static_cast<size_t>(world->rank())]), y), 1e-6);
}

class Experts : public testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(Experts, DividedOverProcessesEqualOneProcess) {
  tests::in_processes(GetParam().first, [](const Launch& launch) {
    expect_equal(make_communicator(launch, {.backend = "gloo"}), GetParam().second, moe::ExpertForm::kSwiglu, false);
  });
}

// World, and how many processes share a set of experts: also combined with data parallelism.
INSTANTIATE_TEST_SUITE_P(Worlds, Experts, testing::Values(std::pair(1, 1), std::pair(2, 2), std::pair(4, 4), std::pair(4, 2)));

TEST(ExpertParallel, ServesGroupsInWhichSomeGetNoRows) {
  tests::in_processes(4, [](const Launch& launch) {
    const std::shared_ptr<Communicator> world = make_communicator(launch, {.backend = "gloo"});
    for (const auto form : {moe::ExpertForm::kSwiglu, moe::ExpertForm::kGelu}) expect_equal(world, 4, form, true);
  });
}

// With nothing to learn below, a process without rows takes part in the backward pass all the same.
TEST(ExpertParallel, FrozenInputsStillSendGradientsToExperts) {
  tests::in_processes(4, [](const Launch& launch) {
    const std::shared_ptr<Communicator> world = make_communicator(launch, {.backend = "gloo", .collective_timeout = 20});
    for (const auto form : {moe::ExpertForm::kSwiglu, moe::ExpertForm::kGelu}) {
      const Model whole(form), mine(form);
      for (const Model* model : {&whole, &mine}) {
        model->below.requires_grad_(false);
        for (const auto& layer : model->layers) {
          for (auto& parameter : layer->router().parameters()) parameter.requires_grad_(false);
        }
      }
      shard_experts(*mine.layers[0], world);
      const auto shards = token_shards(world->size(), true);
      const Tensor all = torch::cat(shards);
      loss(whole.layers[0]->forward(all).first, 1).backward();
      loss(mine.layers[0]->forward(shards[static_cast<size_t>(world->rank())]).first, 1).backward();
      for (const auto& item : mine.layers[0]->experts().named_parameters()) {
        const Tensor part = item.value().grad().defined() ? item.value().grad() : torch::zeros_like(item.value());
        const Tensor want = whole.layers[0]->experts().named_parameters()[item.key()].grad();
        EXPECT_LT(largest(whole_experts(part, *world), want) / want.abs().max().item<double>(), 1e-6) << item.key();
      }
    }
  });
}

TEST(ExpertParallel, RefusesGroupsThatDoNotDivide) {
  tests::in_processes(2, [](const Launch& launch) {
    const std::shared_ptr<Communicator> world = make_communicator(launch, {.backend = "gloo"});
    EXPECT_THAT(message_of<UsageError>([&] { make_expert_groups(*world, 3); }), testing::HasSubstr("groups of 3 do not divide 2 processes"));
    moe::Config config;
    config.experts = 5;
    config.router = "topk";
    moe::MoeLayer layer(config, kWidth, 24, {});
    EXPECT_THAT(message_of<UsageError>([&] { shard_experts(layer, world); }),
                testing::HasSubstr("5 experts cannot be divided over 2 processes"));
  });
}

}  // namespace
}  // namespace mose::dist
