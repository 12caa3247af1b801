#include "mose/dist/reducer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "support/helpers.h"
#include "support/processes.h"
#include "unit/dist/small_model.h"

namespace mose::dist {
namespace {

using tests::global_batch;
using tests::kBatch;
using tests::Model;
using torch::Tensor;

std::vector<Tensor> gradients(const Model& model) {
  std::vector<Tensor> out;
  for (const auto& parameter : model.parameters) out.push_back(parameter.tensor.grad());
  return out;
}

// The global batch in `parts`, one after the other, in one process.
std::vector<Tensor> reference(int64_t parts, at::ScalarType type = torch::kFloat32) {
  Model model(type);
  for (const Tensor& part : global_batch().chunk(parts)) model.loss(part, kBatch).backward();
  return gradients(model);
}

// This rank's share of it, in `parts`.
void backward(const Model& model, GradientReducer& reducer, const Communicator& group, int64_t parts) {
  tests::backward_share(model, group, 0, parts, reducer);
  reducer.finish();
}

double difference(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].defined(), b[i].defined()) << i;
    if (a[i].defined()) largest = std::max(largest, (a[i] - b[i]).abs().max().item<double>());
  }
  return largest;
}

class Reduction : public testing::TestWithParam<int64_t> {};

TEST_P(Reduction, EqualsOneProcessThatAccumulatesTheSameParts) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    const auto expected = reference(group->size());
    for (const double bucket_mb : {100.0, 0.001, 0.0001}) {
      Model model;
      GradientReducer reducer(model.parameters, group, {bucket_mb});
      for (int64_t step = 0; step < 3; ++step) {
        backward(model, reducer, *group, 1);
        EXPECT_EQ(difference(gradients(model), expected), 0) << bucket_mb;  // in every bit
        EXPECT_TRUE(model.parameters[3].tensor.grad().defined());
        EXPECT_FALSE(model.parameters[4].tensor.grad().defined());
        for (const auto& parameter : model.parameters) Tensor(parameter.tensor).mutable_grad().reset();
      }
    }
  });
}

TEST_P(Reduction, AccumulatesPartsBeforeItReduces) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    Model model;
    GradientReducer reducer(model.parameters, group, {0.001});
    backward(model, reducer, *group, 2);
    EXPECT_LT(difference(gradients(model), reference(1)), 1e-6);
  });
}

TEST_P(Reduction, RoundsShortTypesOnce) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    std::vector<Tensor> sums;
    for (const Tensor& part : global_batch().chunk(group->size())) {
      Model alone(torch::kBFloat16);
      alone.loss(part, kBatch).backward();
      const auto grads = gradients(alone);
      if (sums.empty()) sums.resize(grads.size());
      for (size_t i = 0; i < grads.size(); ++i) {
        if (!grads[i].defined()) continue;
        const Tensor grad = grads[i].to(torch::kFloat32);
        sums[i] = sums[i].defined() ? sums[i] + grad : grad;
      }
    }
    for (auto& sum : sums) sum = sum.defined() ? sum.to(torch::kBFloat16) : sum;
    Model model(torch::kBFloat16);
    GradientReducer reducer(model.parameters, group);
    backward(model, reducer, *group, 1);
    EXPECT_EQ(difference(gradients(model), sums), 0);
  });
}

TEST_P(Reduction, WithoutABackwardPassGradientsStayUndefined) {
  tests::in_processes(GetParam(), [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    Model model;
    GradientReducer reducer(model.parameters, group);
    reducer.finish();
    for (const auto& parameter : model.parameters) EXPECT_FALSE(parameter.tensor.grad().defined());
    // One rank alone has gradients: the others get them.
    if (group->rank() == 0) model.loss(global_batch(), kBatch).backward();
    reducer.finish();
    EXPECT_EQ(difference(gradients(model), reference(1)), 0);
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, Reduction, testing::Values(1, 2, 4));

TEST(GradientReducer, RefusesAGradientThatComesTooLate) {
  tests::in_processes(2, [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    Model model;
    GradientReducer reducer(model.parameters, group, {0.0001});
    reducer.arm();
    model.loss(global_batch(), kBatch).backward();
    std::string message;
    try {
      model.loss(global_batch(), kBatch).backward();
    } catch (const std::exception& e) {
      message = e.what();
    }
    // `never` is the first bucket and has not left, so none has: give it a gradient.
    if (message.empty()) {
      model.parameters[4].tensor.sum().backward();
      EXPECT_THAT(message_of<Error>([&] { model.parameters[4].tensor.sum().backward(); }),
                  testing::HasSubstr("never.weight got a further gradient after its bucket had left"));
    }
    reducer.finish();
  });
}

TEST(GradientReducer, RefusesParametersThatTakeNoGradient) {
  tests::in_processes(2, [](const Launch& launch) {
    const std::shared_ptr<Communicator> group = make_communicator(launch, {.backend = "gloo"});
    EXPECT_THAT(message_of<Error>([&] { GradientReducer({{"frozen", torch::zeros({3})}}, group); }),
                testing::HasSubstr("parameter frozen takes no gradient"));
    group->barrier();
  });
}

}  // namespace
}  // namespace mose::dist
