#include "mose/dist/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "support/helpers.h"
#include "support/processes.h"
#include "unit/dist/gather_state.h"
#include "unit/dist/sparse_model.h"

namespace mose::dist {
namespace {

using tests::gather_state;
using tests::SparseModel;
using tests::State;
using torch::Tensor;

std::vector<optim::NamedParameter> all_parameters(const SparseModel& model) {
  auto out = model.parameters(false);
  for (auto& parameter : model.parameters(true)) out.push_back(parameter);
  return out;
}

optim::AdamWConfig config() {
  optim::AdamWConfig out;
  out.weight_decay = 0.1;
  out.learning_rate_scale = Json{{"*.experts.*", 0.5}, {"below", 2.0}};
  out.no_decay = {"*.gate.*"};
  return out;
}

// Steps [first, last) on the global batch that `shards` processes divide; the norms.
std::vector<double> train(SparseModel& model, Optimizer& optimizer, int64_t shards, int64_t rank, int64_t world, int64_t first,
                          int64_t last) {
  std::vector<double> norms;
  for (int64_t step = first; step < last; ++step) {
    const auto tokens = tests::token_shards(shards, false, step);
    const auto whole = static_cast<double>(torch::cat(tokens).size(0));
    const int64_t own = shards / world;
    for (int64_t i = 0; i < own; ++i) {
      if (i + 1 == own) optimizer.arm();
      tests::loss(model.forward(tokens[static_cast<size_t>(rank * own + i)]), whole).backward();
    }
    norms.push_back(optimizer.finish(1).item<double>());
    optimizer.step(0.001);
    optimizer.zero_grad();
  }
  return norms;
}

// Processes, how many of them share experts (0: none do), and whether state is divided.
using Form = std::tuple<int64_t, int64_t, bool>;
class AnyForm : public testing::TestWithParam<Form> {};

TEST_P(AnyForm, TrainsAsOneProcessDoesAndResumesAsOne) {
  tests::in_processes(std::get<0>(GetParam()), [](const Launch& launch) {
    const auto [processes, sharing, sharded] = GetParam();
    const std::shared_ptr<Communicator> world = make_communicator(launch, {.backend = "gloo"});
    const std::shared_ptr<Communicator> alone = world->split(world->rank());

    SparseModel reference;
    Optimizer one(all_parameters(reference), config(), alone);
    const auto expected = train(reference, one, 4, 0, 1, 0, 3);

    SparseModel model;
    OptimizerPlan plan{.sharded = sharded, .reducer = {0.002}};
    if (sharing > 0) {
      plan.experts = make_expert_groups(*world, sharing);
      for (const auto& layer : model.layers) shard_experts(*layer, plan.experts.parallel);
    }
    Optimizer many(all_parameters(model), config(), world, plan);
    const auto norms = train(model, many, 4, world->rank(), world->size(), 0, 3);
    for (size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(norms[i] / expected[i], 1, 1e-6);
    EXPECT_GT(expected[0], 1);  // clipping is at work

    const auto expect_near = [&](const std::vector<optim::NamedParameter>& want) {
      const auto have = all_parameters(model);
      for (size_t i = 0; i < have.size(); ++i) {
        Tensor whole = have[i].tensor.detach();
        if (whole.sizes() != want[i].tensor.sizes()) whole = whole_experts(whole, *plan.experts.parallel);
        EXPECT_LT((whole - want[i].tensor).abs().max().item<double>(), 2e-6) << have[i].name;
      }
    };
    expect_near(all_parameters(reference));

    // One process goes on from what many wrote, and many from what one wrote.
    const State written = gather_state(many.state(), *world), one_wrote = one.state();
    State kept;
    for (const auto& [name, tensor] : one_wrote) kept[name] = tensor.clone();
    one.load_state(written);
    many.load_state(kept);
    train(reference, one, 4, 0, 1, 3, 5);
    train(model, many, 4, world->rank(), world->size(), 3, 5);
    expect_near(all_parameters(reference));

    State broken = kept;
    broken.erase("1.experts.down_proj.exp_avg");
    EXPECT_THAT(message_of<DataError>([&] { many.load_state(broken); }), testing::HasSubstr("1.experts.down_proj.exp_avg"));
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, AnyForm,
                         testing::Values(Form{1, 0, false}, Form{1, 1, true}, Form{2, 0, false}, Form{2, 2, true}, Form{4, 0, true},
                                         Form{4, 2, false}, Form{4, 2, true}, Form{4, 4, false}));

TEST(Optimizer, RefusesAPatternThatConcernsNothing) {
  SparseModel model;
  optim::AdamWConfig wrong = config();
  wrong.no_decay = {"vision.*"};
  EXPECT_THAT(message_of<UsageError>([&] { Optimizer(all_parameters(model), wrong, make_communicator({})); }),
              testing::HasSubstr("\"vision.*\" matches no trained parameter"));
}

}  // namespace
}  // namespace mose::dist
