// The GPU's kernels of sampling, run by the CPU (support/cuda_on_cpu.h), against the plain way.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "infer/cuda/sample.cu"
#include "plain_sampling.h"
#include "support/kernels.h"

namespace mose::infer::cuda {
namespace {

using tests::data;
using tests::for_types;
using tests::in_any_order;
using torch::Tensor;

template <class T>
Tensor sampled(const Tensor& logits, const Tensor& uniform, const tests::SamplingCase& c) {
  return in_any_order([&] {
    const Tensor out = torch::full({logits.size(0)}, -9, torch::kInt64);
    sample(nullptr, data<T>(logits), data<double>(uniform), c.temperature, c.top_k, c.top_p, data<int64_t>(out), logits.size(0), logits.size(1));
    return std::vector<Tensor>{out};
  })[0];
}

TEST(Sample, DrawsAreThoseOfThePlainWay) {
  for (const int64_t classes : {1, 33, 1500}) {
    for_types([&]<class T>(T, torch::Dtype type, double) {
      torch::manual_seed(1);
      const Tensor logits = (4 * torch::randn({3, classes})).to(type), uniform = torch::rand({3}, torch::kFloat64);
      for (const auto& c : tests::sampling_cases(classes)) {
        const Tensor found = sampled<T>(logits, uniform, c);
        for (int64_t n = 0; n < 3; ++n) {
          EXPECT_EQ(found[n].item<int64_t>(), tests::plain_sample(logits[n], c.temperature, c.top_k, c.top_p, uniform[n].item<double>()))
              << classes << " classes, temperature " << c.temperature << ", top_k " << c.top_k << ", top_p " << c.top_p << ", row " << n;
        }
      }
    });
  }
}

TEST(Sample, EqualLogitsAreTakenByRisingIndex) {
  const Tensor logits = torch::tensor({{-0.f, 0.f, 0.f, -1.f, 0.f}}).repeat({5, 1});
  const Tensor uniform = torch::tensor({0.0, 0.3, 0.5, 0.8, 0.999}, torch::kFloat64);
  EXPECT_TRUE(torch::equal(sampled<float>(logits, uniform, {1, 4, 1}), torch::tensor({0, 1, 2, 4, 4}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(sampled<float>(logits, uniform, {1, 2, 1}), torch::tensor({0, 0, 1, 1, 1}, torch::kInt64)));
}

TEST(Sample, WhatIsNotANumberIsNeverChosen) {
  const Tensor logits = torch::tensor({{NAN, -INFINITY, 2.f, NAN}, {NAN, NAN, NAN, NAN}, {-INFINITY, -INFINITY, -INFINITY, NAN}});
  const Tensor uniform = torch::tensor({0.9, 0.9, 0.0}, torch::kFloat64);
  EXPECT_TRUE(torch::equal(sampled<float>(logits, uniform, {1, 0, 1}), torch::tensor({2, -1, -1}, torch::kInt64)));
}

TEST(Argmax, TakesTheFirstOfTheLargest) {
  for (const int64_t classes : {1, 31, 513, 3000}) {
    for_types([&]<class T>(T, torch::Dtype type, double) {
      torch::manual_seed(2);
      const Tensor logits = torch::randint(-9, 9, {4, classes}).to(type);
      const Tensor found = in_any_order([&] {
        const Tensor out = torch::full({4}, -9, torch::kInt64);
        argmax(nullptr, data<T>(logits), data<int64_t>(out), 4, classes);
        return std::vector<Tensor>{out};
      })[0];
      for (int64_t n = 0; n < 4; ++n) EXPECT_EQ(found[n].item<int64_t>(), (logits[n] == logits[n].max()).nonzero()[0].item<int64_t>());
    });
  }
}

TEST(Argmax, NotANumberIsNotHidden) {
  const Tensor logits = torch::tensor({{1.f, NAN, 3.f, NAN}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}}), out = torch::full({2}, -9, torch::kInt64);
  argmax(nullptr, data<float>(logits), data<int64_t>(out), 2, 4);
  EXPECT_TRUE(torch::equal(out, torch::tensor({1, 0}, torch::kInt64)));
}

}  // namespace
}  // namespace mose::infer::cuda
