#include "mose/optim/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>

#include "mose/core/error.h"
#include "mose/optim/update.h"
#include "support/devices.h"
#include "support/helpers.h"

namespace mose::optim {
namespace {

using torch::Tensor;

std::vector<NamedParameter> make_parameters(torch::Device device = torch::kCPU) {
  torch::manual_seed(7);
  std::vector<NamedParameter> parameters;
  parameters.push_back({"layers.0.weight", torch::randn({5, 3})});
  parameters.push_back({"layers.0.bias", torch::randn({5})});
  parameters.push_back({"vision_tower.proj.weight", torch::randn({4, 2, 3})});
  for (NamedParameter& parameter : parameters) parameter.tensor = parameter.tensor.to(device).requires_grad_(true);
  return parameters;
}

// Gradients that depend on the step, the same for every copy of the parameters.
void set_gradients(std::vector<NamedParameter>& parameters, int64_t step) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    Tensor& tensor = parameters[i].tensor;
    const Tensor phase = torch::arange(tensor.numel(), torch::kFloat32).view(tensor.sizes());
    tensor.mutable_grad() = torch::sin(phase + static_cast<double>(step) * 0.7 + static_cast<double>(i)).to(tensor.device());
  }
}

double difference(const std::vector<NamedParameter>& a, const std::vector<NamedParameter>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, (a[i].tensor - b[i].tensor).abs().max().item<double>());
  }
  return largest;
}

AdamWConfig config_with(double decay) {
  AdamWConfig config;
  config.weight_decay = decay;
  return config;
}

class AdamWOnDevice : public OnDevice {};
MOSE_ON_DEVICES(AdamWOnDevice);

TEST_P(AdamWOnDevice, EqualsTheFormulaEvaluatedElementByElement) {
  auto parameters = make_parameters(device());
  AdamWConfig config = config_with(0.1);
  config.learning_rate_scale = Json{{"vision_tower.*", 0.25}};
  AdamW optimizer(parameters, config);
  struct Element {
    double w, m, v;
  };
  std::vector<std::vector<Element>> reference;
  for (const auto& parameter : parameters) {
    const Tensor flat = parameter.tensor.detach().flatten();
    auto& elements = reference.emplace_back();
    for (int64_t k = 0; k < flat.numel(); ++k) elements.push_back({flat[k].item<double>(), 0, 0});
  }
  for (int64_t t = 1; t <= 5; ++t) {
    const double rate = 0.01 * static_cast<double>(t);
    set_gradients(parameters, t);
    optimizer.step(rate);
    for (size_t i = 0; i < parameters.size(); ++i) {
      const double lr = rate * (i == 2 ? 0.25 : 1.0), decay = i == 1 ? 0.0 : 0.1;
      const Tensor gradient = parameters[i].tensor.grad().flatten();
      for (size_t k = 0; k < reference[i].size(); ++k) {
        auto& [w, m, v] = reference[i][k];
        const double g = gradient[static_cast<int64_t>(k)].item<double>();
        m = 0.9 * m + 0.1 * g;
        v = 0.95 * v + 0.05 * g * g;
        w -= lr * decay * w;
        w -= lr * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-8);
      }
    }
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor flat = parameters[i].tensor.detach().flatten();
    for (size_t k = 0; k < reference[i].size(); ++k) {
      EXPECT_NEAR(flat[static_cast<int64_t>(k)].item<double>(), reference[i][k].w, 2e-6);
    }
  }
}

TEST(AdamW, EqualsTorchsAdamW) {
  auto ours = make_parameters(), theirs = make_parameters();
  AdamW optimizer(ours, config_with(0.05));
  const auto options = [](double decay) {
    return std::make_unique<torch::optim::AdamWOptions>(
        torch::optim::AdamWOptions(0.02).betas({0.9, 0.95}).eps(1e-8).weight_decay(decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<Tensor>{theirs[0].tensor, theirs[2].tensor}, options(0.05));
  groups.emplace_back(std::vector<Tensor>{theirs[1].tensor}, options(0.0));
  torch::optim::AdamW reference(groups, torch::optim::AdamWOptions(0.02));
  for (int64_t step = 0; step < 20; ++step) {
    set_gradients(ours, step);
    set_gradients(theirs, step);
    optimizer.step(0.02);
    reference.step();
  }
  EXPECT_LT(difference(ours, theirs), 2e-6);
}

TEST(AdamW, ParametersWithoutAGradientAndTheirStateStay) {
  auto parameters = make_parameters();
  const Tensor before = parameters[0].tensor.detach().clone();
  AdamW optimizer(parameters, config_with(0.1));
  set_gradients(parameters, 1);
  parameters[0].tensor.mutable_grad().reset();
  optimizer.step(0.1);
  EXPECT_TRUE(torch::equal(parameters[0].tensor, before));
  EXPECT_EQ(optimizer.state().at("layers.0.weight.step").item<double>(), 0);
  EXPECT_EQ(optimizer.state().at("layers.0.bias.step").item<double>(), 1);
  optimizer.zero_grad();
  EXPECT_FALSE(parameters[1].tensor.grad().defined());
}

TEST_P(AdamWOnDevice, ResumingFromItsStateGivesTheSameBits) {
  auto whole = make_parameters(device()), first = make_parameters(device());
  AdamW uninterrupted(whole, config_with(0.1)), before(first, config_with(0.1));
  for (int64_t step = 0; step < 6; ++step) {
    set_gradients(whole, step);
    uninterrupted.step(0.01);
  }
  for (int64_t step = 0; step < 3; ++step) {
    set_gradients(first, step);
    before.step(0.01);
  }
  std::map<std::string, Tensor> saved;
  for (const auto& [name, tensor] : before.state()) saved[name] = tensor.clone();
  AdamW after(first, config_with(0.1));
  after.load_state(saved);
  for (int64_t step = 3; step < 6; ++step) {
    set_gradients(first, step);
    after.step(0.01);
  }
  EXPECT_EQ(difference(whole, first), 0);
}

TEST(AdamW, StateThatDoesNotFitIsADataErrorAndChangesNothing) {
  auto parameters = make_parameters();
  AdamW optimizer(parameters, {});
  set_gradients(parameters, 0);
  optimizer.step(0.1);
  auto state = optimizer.state();
  const Tensor kept = state.at("layers.0.weight.exp_avg").clone();
  auto missing = state;
  missing.erase("vision_tower.proj.weight.step");
  missing["layers.0.weight.exp_avg"] = torch::zeros({5, 3});
  EXPECT_THROW(optimizer.load_state(missing), DataError);
  auto misshapen = state;
  misshapen["layers.0.bias.exp_avg"] = torch::zeros({6});
  EXPECT_THROW(optimizer.load_state(misshapen), DataError);
  auto unknown = state;
  unknown["other.exp_avg"] = torch::zeros({1});
  EXPECT_THROW(optimizer.load_state(unknown), DataError);
  EXPECT_TRUE(torch::equal(optimizer.state().at("layers.0.weight.exp_avg"), kept));
}

TEST(AdamW, WrongConfigsAndParametersAreUsageErrors) {
  AdamWConfig unmatched;
  unmatched.learning_rate_scale = Json{{"visoin_tower.*", 0.1}};
  EXPECT_THROW(AdamW(make_parameters(), unmatched), UsageError);
  AdamWConfig unmatched_decay;
  unmatched_decay.no_decay = {"embedding"};
  EXPECT_THROW(AdamW(make_parameters(), unmatched_decay), UsageError);
  EXPECT_THROW(AdamW({{"a", torch::zeros({2}, torch::kFloat64)}}, {}), UsageError);
  EXPECT_THROW(AdamW({{"a", torch::zeros({2})}, {"a", torch::zeros({2})}}, {}), UsageError);
}

TEST(AdamW, FirstMatchingLearningRateScaleCounts) {
  auto parameters = make_parameters();
  const Tensor before = parameters[2].tensor.detach().clone();
  AdamWConfig config = config_with(0);
  config.learning_rate_scale = Json{{"vision_tower.*", 0.0}, {"*.weight", 1.0}};
  AdamW optimizer(parameters, config);
  set_gradients(parameters, 0);
  optimizer.step(0.1);
  EXPECT_TRUE(torch::equal(parameters[2].tensor, before));
}

TEST_P(AdamWOnDevice, Bfloat16ParametersAreTheirFloat32MasterWeightsRounded) {
  auto wide = make_parameters(device()), narrow = make_parameters(device());
  for (size_t i = 0; i < wide.size(); ++i) {
    // The same start, exact in both types.
    const Tensor start = wide[i].tensor.detach().to(torch::kBFloat16);
    narrow[i].tensor = start.clone().requires_grad_(true);
    wide[i].tensor = start.to(torch::kFloat32).requires_grad_(true);
  }
  AdamW master(wide, config_with(0.1)), rounded(narrow, config_with(0.1));
  for (int64_t step = 0; step < 40; ++step) {
    set_gradients(narrow, step);
    for (size_t i = 0; i < wide.size(); ++i) {
      Tensor(narrow[i].tensor).mutable_grad() = narrow[i].tensor.grad().to(torch::kBFloat16);
      Tensor(wide[i].tensor).mutable_grad() = narrow[i].tensor.grad().to(torch::kFloat32);
    }
    master.step(1e-4);  // most of these steps are lost in bfloat16 alone
    rounded.step(1e-4);
    for (size_t i = 0; i < wide.size(); ++i) {
      ASSERT_TRUE(torch::equal(narrow[i].tensor, wide[i].tensor.to(torch::kBFloat16))) << step << " " << i;
    }
  }
  EXPECT_TRUE(torch::equal(rounded.state().at("layers.0.weight.master"), wide[0].tensor));
  AdamW resumed(narrow, config_with(0.1));
  resumed.load_state(rounded.state());
  EXPECT_TRUE(torch::equal(resumed.state().at("layers.0.weight.master"), wide[0].tensor));
}

TEST(AdamW, ReadsStateInPieces) {
  auto parameters = make_parameters();
  AdamW optimizer(parameters, {});
  set_gradients(parameters, 0);
  optimizer.step(0.1);
  std::map<std::string, Tensor> pieces;
  for (const auto& [name, tensor] : optimizer.state()) {
    const Tensor flat = tensor.flatten();
    const int64_t n = flat.numel(), cut = n / 3;
    if (tensor.dim() == 0) {
      pieces[name] = tensor;
    } else {
      pieces[piece_name(name, cut, n)] = flat.narrow(0, cut, n - cut);
      pieces[piece_name(name, 0, cut)] = flat.narrow(0, 0, cut);
    }
  }
  AdamW other(make_parameters(), {});
  other.load_state(pieces);
  for (const auto& [name, tensor] : optimizer.state()) EXPECT_TRUE(torch::equal(other.state().at(name), tensor)) << name;
  auto gap = pieces;
  gap.erase("layers.0.weight.exp_avg[0:5]");
  EXPECT_THAT(message_of<DataError>([&] { other.load_state(gap); }),
              testing::HasSubstr("layers.0.weight.exp_avg: elements 0 to 15 of 15 are missing"));
  gap["layers.0.weight.exp_avg[0:6]"] = torch::zeros({5});
  EXPECT_THAT(message_of<DataError>([&] { other.load_state(gap); }), testing::HasSubstr("layers.0.weight.exp_avg[0:6]"));
}

}  // namespace
}  // namespace mose::optim
