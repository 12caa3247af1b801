// NCCL with as many processes as there are GPUs at hand: one is enough to run every verb through it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/dist/optimizer.h"
#include "mose/dist/sharded_adamw.h"
#include "support/helpers.h"
#include "support/processes.h"
#include "unit/dist/small_model.h"

namespace mose::dist {
namespace {

using torch::Tensor;

TEST(Nccl, IsRefusedWhereItIsNot) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "a GPU is there";
  EXPECT_THAT(message_of<UsageError>([] { make_communicator({}, {.backend = "nccl"}); }), testing::HasSubstr("distributed backend nccl: "));
}

TEST(Nccl, RunsEveryVerbOnTheGpus) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  const auto gpus = static_cast<int64_t>(torch::cuda::device_count());
  tests::in_processes(gpus >= 4 ? 4 : gpus >= 2 ? 2 : 1, [](const Launch& launch) {
    const auto group = make_communicator(launch, {.backend = "nccl"});
    const int64_t world = group->size(), rank = group->rank();
    const auto device = torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(launch.local_rank));
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      const auto options = torch::TensorOptions(device).dtype(type);
      const Tensor x = torch::full({1000}, static_cast<double>(rank + 1), options);
      group->all_reduce(x).wait();
      EXPECT_TRUE(x.eq(world * (world + 1) / 2).all().item<bool>());
      const Tensor place = torch::full({world, 64}, static_cast<double>(rank + 1), options);
      group->reduce_scatter(place[rank], place).wait();
      EXPECT_TRUE(place[rank].eq(world * (world + 1) / 2).all().item<bool>());
      place[rank].fill_(rank);
      group->all_gather(place, place[rank]).wait();
      EXPECT_TRUE(torch::equal(place, torch::arange(world, options).unsqueeze(1).expand({world, 64})));
      std::vector<int64_t> in_rows, out_rows;
      for (int64_t r = 0; r < world; ++r) {
        in_rows.push_back(r + 1);
        out_rows.push_back(rank + 1);
      }
      const Tensor sent = torch::full({world * (world + 1) / 2, 3}, static_cast<double>(rank), options);
      const Tensor received = torch::empty({world * (rank + 1), 3}, options);
      group->all_to_all(received, sent, out_rows, in_rows).wait();
      EXPECT_TRUE(torch::equal(received.select(1, 0), torch::arange(world, options).repeat_interleave(rank + 1)));
      const Tensor told = torch::full({5}, static_cast<double>(rank), options);
      group->broadcast(told, world - 1).wait();
      EXPECT_TRUE(told.eq(world - 1).all().item<bool>());
    }
    EXPECT_EQ(agree(*group, rank), world - 1);  // of the CPU, beside it
    const auto half = group->split(rank % 2);
    const Tensor one = torch::ones({1}, device);
    half->all_reduce(one).wait();
    EXPECT_EQ(one.item<double>(), static_cast<double>(half->size()));
    group->barrier();
  });
}

TEST(Nccl, TrainsAsTheCpuDoes) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  const std::shared_ptr<Communicator> one = make_communicator({}, {.backend = "nccl"}), none = make_communicator({});
  tests::Model here, there;
  for (auto& parameter : there.parameters) parameter.tensor = parameter.tensor.detach().to(torch::kCUDA).requires_grad_(true);
  Optimizer cpu(here.parameters, {}, none);
  ShardedAdamW gpu(there.parameters, {}, one);  // its collectives go through NCCL even with one process
  for (int64_t step = 0; step < 3; ++step) {
    const Tensor x = tests::global_batch(step);
    here.loss(x, 8).backward();
    gpu.arm();
    there.loss(x.to(torch::kCUDA), 8).backward();
    gpu.finish();
    EXPECT_NEAR(cpu.finish(0.1).item<double>() / gpu.clip(0.1).item<double>(), 1, 1e-4);
    cpu.step(0.01);
    gpu.step(0.01);
    cpu.zero_grad();
  }
  for (size_t i = 0; i < here.parameters.size(); ++i) {
    EXPECT_LT((here.parameters[i].tensor.detach() - there.parameters[i].tensor.detach().cpu()).abs().max().item<double>(), 1e-4);
  }
}

}  // namespace
}  // namespace mose::dist
