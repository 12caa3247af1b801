// The GPU's kernel itself, run by the CPU (support/cuda_on_cpu.h), against the formula in float64.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "optim/cuda/adamw.cu"
#include "support/kernels.h"

namespace mose::optim::cuda {
namespace {

using tests::data;
using tests::difference;
using tests::in_any_order;
using torch::Tensor;

struct Parameter {
  Tensor weight, gradient, exp_avg, exp_avg_sq, step, rounded;  // `rounded` may be undefined, or the gradient
  double rate, decay;

  Task task() const {
    Task t{};
    t.weight = data<float>(weight);
    t.exp_avg = data<float>(exp_avg);
    t.exp_avg_sq = data<float>(exp_avg_sq);
    t.gradient = gradient.data_ptr();
    t.gradient_is_half = gradient.scalar_type() == torch::kBFloat16;
    t.rounded = rounded.defined() ? rounded.data_ptr() : nullptr;
    t.rounded_is_half = rounded.defined() && rounded.scalar_type() == torch::kBFloat16;
    t.step = data<float>(step);
    t.elements = weight.numel();
    t.rate = static_cast<float>(rate);
    t.decay = static_cast<float>(decay);
    return t;
  }
};

// More tensors than one launch takes, of one element, part of a chunk, exactly one and several; every kind of gradient
// and of rounded weight; own rates, decays and step numbers.
std::vector<Parameter> make_parameters() {
  torch::manual_seed(1);
  std::vector<Parameter> out;
  for (int64_t i = 0; i < 2 * kTasks + 5; ++i) {
    const int64_t n = i == 7 ? 2 * kChunk + 3 : i == 50 ? kChunk : 1 + 37 * i % 300;
    Parameter p{torch::randn({n}),
                torch::randn({n}),
                torch::randn({n}),
                torch::rand({n}),
                torch::full({}, static_cast<double>(1 + i % 5)),
                {},
                0.01 * static_cast<double>(1 + i % 3),
                i % 2 == 0 ? 0.1 : 0.0};
    if (i % 3 > 0) p.gradient = p.gradient.to(torch::kBFloat16);
    if (i % 4 == 1) p.rounded = torch::full({n}, NAN, torch::kBFloat16);
    if (i % 4 == 2) p.rounded = torch::full({n}, NAN, torch::kFloat32);
    if (i % 4 == 3) p.rounded = p.gradient;
    out.push_back(p);
  }
  return out;
}

TEST(AdamWKernel, EqualsTheFormulaInFloat64) {
  const Settings settings{0.9, 0.95, 1e-8};
  const auto before = make_parameters();
  const auto out = in_any_order([&] {
    auto parameters = make_parameters();
    std::vector<Task> tasks;
    for (const Parameter& p : parameters) tasks.push_back(p.task());
    update(nullptr, tasks, settings);
    std::vector<Tensor> results;
    for (const Parameter& p : parameters) {
      for (const Tensor& t : {p.weight, p.exp_avg, p.exp_avg_sq, p.rounded.defined() ? p.rounded : p.weight})
        results.push_back(t);
    }
    return results;
  });
  for (size_t i = 0; i < before.size(); ++i) {
    const Parameter& p = before[i];
    const Tensor g = p.gradient.to(torch::kFloat64), w = p.weight.to(torch::kFloat64);
    const double t = p.step.item<double>();
    const Tensor m = 0.9 * p.exp_avg.to(torch::kFloat64) + 0.1 * g,
                 v = 0.95 * p.exp_avg_sq.to(torch::kFloat64) + 0.05 * g * g;
    const Tensor exact = w - p.rate * p.decay * w -
                         p.rate * (m / (1 - std::pow(0.9, t))) / ((v / (1 - std::pow(0.95, t))).sqrt() + 1e-8);
    EXPECT_LT(difference(out[4 * i], exact), 1e-6) << i;
    EXPECT_LT(difference(out[4 * i + 1], m), 1e-6) << i;
    EXPECT_LT(difference(out[4 * i + 2], v), 1e-6) << i;
    EXPECT_TRUE(torch::equal(out[4 * i + 3], out[4 * i].to(out[4 * i + 3].scalar_type()))) << i;
  }
}

}  // namespace
}  // namespace mose::optim::cuda
