// The same test on the CPU and, where there is one, on a GPU.
//
//   class Fused : public OnDevice {};
//   MOSE_ON_DEVICES(Fused);
//   TEST_P(Fused, RmsNorm) { ... x.to(device()) ... }
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>

namespace mose {

class OnDevice : public ::testing::TestWithParam<torch::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == torch::kCUDA && !torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  }
  torch::Device device() const { return torch::Device(GetParam()); }
};

#define MOSE_ON_DEVICES(Suite)                                                      \
  INSTANTIATE_TEST_SUITE_P(On, Suite, ::testing::Values(torch::kCPU, torch::kCUDA), \
                           [](const auto& info) { return std::string(info.param == torch::kCPU ? "Cpu" : "Gpu"); })

}  // namespace mose
