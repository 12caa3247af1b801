#include "mose/dist/sharded_adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/optim/clip.h"
#include "support/helpers.h"
#include "support/processes.h"
#include "unit/dist/gather_state.h"
#include "unit/dist/small_model.h"

namespace mose::dist {
namespace {

using tests::gather_state;
using tests::Model;
using tests::State;
using torch::Tensor;

optim::AdamWConfig config() {
  optim::AdamWConfig out;
  out.weight_decay = 0.1;
  out.learning_rate_scale = Json{{"second.*", 0.3}};
  out.no_decay = {"rare.*"};
  return out;
}

// Steps with whole state on every process; the norms.
std::vector<double> train_whole(Model& model, const std::shared_ptr<Communicator>& group, int64_t steps, double clip, int64_t parts) {
  GradientReducer reducer(model.parameters, group);
  optim::AdamW optimizer(model.parameters, config());
  std::vector<double> norms;
  for (int64_t step = 0; step < steps; ++step) {
    tests::backward_share(model, *group, step, parts, reducer);
    reducer.finish();
    norms.push_back(optim::clip_gradients(model.parameters, clip).item<double>());
    optimizer.step(0.01);
    optimizer.zero_grad();
  }
  return norms;
}

std::vector<double> train_sharded(Model& model, ShardedAdamW& optimizer, const Communicator& group, int64_t first, int64_t last,
                                  double clip, int64_t parts) {
  std::vector<double> norms;
  for (int64_t step = first; step < last; ++step) {
    tests::backward_share(model, group, step, parts, optimizer);
    optimizer.finish();
    norms.push_back(optimizer.clip(clip).item<double>());
    optimizer.step(0.01);
  }
  return norms;
}

double difference(const Model& a, const Model& b) {
  double largest = 0;
  for (size_t i = 0; i < a.parameters.size(); ++i) {
    largest = std::max(largest, (a.parameters[i].tensor - b.parameters[i].tensor).abs().max().item<double>());
  }
  return largest;
}

class Sharding : public testing::TestWithParam<int64_t> {};

TEST_P(Sharding, EqualsWholeStateBitForBit) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      for (const int64_t parts : {1, 2}) {
        for (const double bucket_mb : {100.0, 0.0005}) {
          Model whole(type), sharded(type);
          const Tensor never = sharded.parameters[4].tensor.detach().clone();
          const auto expected = train_whole(whole, group, 4, /*clip=*/100, parts);
          ShardedAdamW optimizer(sharded.parameters, config(), group, {bucket_mb});
          const auto norms = train_sharded(sharded, optimizer, *group, 0, 4, 100, parts);
          EXPECT_EQ(difference(whole, sharded), 0) << mose::str(type, " ", parts, " ", bucket_mb);
          EXPECT_TRUE(torch::equal(sharded.parameters[4].tensor, never));
          for (size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(norms[i] / expected[i], 1, 1e-6);
        }
      }
    }
  });
}

TEST_P(Sharding, ClipsByTheNormOfTheWholeGradient) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    Model whole, sharded;
    const auto expected = train_whole(whole, group, 4, 0.01, 1);
    ShardedAdamW optimizer(sharded.parameters, config(), group);
    const auto norms = train_sharded(sharded, optimizer, *group, 0, 4, 0.01, 1);
    for (size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(norms[i] / expected[i], 1, 1e-6);
    EXPECT_GT(expected[0], 0.01);
    EXPECT_LT(difference(whole, sharded), 1e-6);
  });
}

TEST_P(Sharding, DividesTheState) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    Model model;
    model.parameters.push_back({"large", torch::randn({400, 500}).requires_grad_(true)});
    int64_t all = 0, mine = 0;
    for (const auto& parameter : model.parameters) all += parameter.tensor.numel();
    ShardedAdamW optimizer(model.parameters, config(), group);
    for (const auto& [name, tensor] : optimizer.state()) mine += tensor.dim() == 0 ? 0 : tensor.numel();
    EXPECT_NEAR(static_cast<double>(mine) * static_cast<double>(group->size()) / static_cast<double>(2 * all), 1, 0.01);
  });
}

TEST(Resharding, AnotherNumberOfProcessesGoesOnFromTheSameState) {
  tests::in_processes(4, [](const Launch& launch) {
    const std::shared_ptr<Communicator> four = make_communicator(launch, {.backend = "gloo"});
    const std::shared_ptr<Communicator> two = four->split(four->rank() / 2), one = four->split(four->rank());
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      Model model(type);
      ShardedAdamW optimizer(model.parameters, config(), four, {0.001});
      train_sharded(model, optimizer, *four, 0, 3, 0, 1);
      const State state = gather_state(optimizer.state(), *four);

      std::vector<Model> resumed(2, Model(type));
      for (auto& copy : resumed) {
        for (size_t i = 0; i < copy.parameters.size(); ++i) {
          copy.parameters[i].tensor = model.parameters[i].tensor.detach().clone().requires_grad_(true);
        }
      }
      train_sharded(model, optimizer, *four, 3, 6, 0, 1);
      const double tolerance = type == torch::kFloat32 ? 1e-6 : 1e-2;  // one unit in the last place of a bfloat16 weight
      const std::shared_ptr<Communicator> groups[] = {two, one};
      for (size_t i = 0; i < 2; ++i) {
        ShardedAdamW other(resumed[i].parameters, config(), groups[i], {0.01});
        other.load_state(state);
        train_sharded(resumed[i], other, *groups[i], 3, 6, 0, 1);
        EXPECT_LT(difference(resumed[i], model), tolerance) << type << " " << groups[i]->size();
      }
      // The unsharded optimizer reads it too, and the sharded one reads the unsharded's.
      Model plain(type), back(type);
      optim::AdamW whole(plain.parameters, config());
      whole.load_state(state);
      ShardedAdamW again(back.parameters, config(), two);
      again.load_state(whole.state());
      for (const auto& [name, tensor] : gather_state(again.state(), *two)) {
        if (name.find('[') == std::string::npos) {
          EXPECT_TRUE(torch::equal(tensor, state.at(name))) << name;
        }
      }
      State broken = state;
      broken.erase(broken.lower_bound("first.weight.exp_avg["));
      EXPECT_THAT(message_of<DataError>([&] { again.load_state(broken); }), testing::HasSubstr("are missing"));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, Sharding, testing::Values(1, 2, 4));

}  // namespace
}  // namespace mose::dist
