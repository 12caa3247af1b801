// Every set of the CPU's kernels that this machine can run, against loops in float64.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <mutex>
#include <set>
#include <thread>

#include "mose/nn/int8.h"
#include "nn/cpu/kernels_table.h"
#include "nn/cpu/tensors.h"
#include "support/threads.h"

namespace mose::nn::cpu {
namespace {

using torch::Tensor;

struct NamedSet {
  const char* name;
  const KernelSet* set;
};

std::vector<NamedSet> sets() {
  std::vector<NamedSet> found = {{"baseline", &kernels_baseline}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back({"v3", &kernels_v3});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    found.push_back({"v4", &kernels_v4});
    if (__builtin_cpu_supports("avx512vnni")) found.push_back({"vnni", &kernels_vnni});
  }
#endif
  return found;
}

const Kernels<float>& of(const KernelSet& set, float) { return set.single; }
const Kernels<uint16_t>& of(const KernelSet& set, uint16_t) { return set.half; }
template <class T>
constexpr torch::Dtype kType = sizeof(T) == 4 ? torch::kFloat32 : torch::kBFloat16;
template <class T>
constexpr double kRounding = sizeof(T) == 4 ? 2e-6 : 1e-2;

double difference(const Tensor& a, const Tensor& b) {
  return (a.to(torch::kFloat64) - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>());
}

template <class T>
void check_products(const KernelSet& set) {
  const auto& k = of(set, T());
  for (const int64_t rows : {1, 2, 3, 4, 5, 7, 11}) {
    // Less than a vector, parts of unrolled steps of each weight's type, and all of them with a rest.
    for (const int64_t width : {1, 15, 16, 33, 64, 100, 128, 255, 300, 557}) {
      constexpr int64_t kOutputs = 19, kBegin = 2, kEnd = 18;
      torch::manual_seed(1);
      const Tensor x = torch::randn({rows, width}).to(kType<T>), w = torch::randn({kOutputs, width}).to(kType<T>), packed = pack_int8(w);
      const Tensor exact = at::mm(x.to(torch::kFloat64), w.to(torch::kFloat64).t()),
                   exact_int8 = at::mm(x.to(torch::kFloat64), unpack_int8(packed).to(torch::kFloat64).t());
      const auto arranged = [&](auto arrange, int64_t room) {
        Tensor out = torch::full({rows, room}, NAN);
        arrange(static_cast<const T*>(x.const_data_ptr()), out.mutable_data_ptr<float>(), rows, width);
        return out;
      };
      const auto inside = [&](const Tensor& t) { return t.narrow(1, kBegin, kEnd - kBegin); };
      const Tensor own = arranged(k.arrange, width), for_int8 = arranged(k.arrange_int8, k.int8_room(width));
      const Tensor y = torch::full({rows, kOutputs}, 77.0f).to(kType<T>), y_float = torch::full({rows, kOutputs}, 77.0f), y_int8 = y.clone();
      k.multiply_rows(own.const_data_ptr<float>(), rows, static_cast<const T*>(w.const_data_ptr()), static_cast<T*>(y.mutable_data_ptr()),
                      kOutputs, kBegin, kEnd, width);
      k.multiply_rows_float(own.const_data_ptr<float>(), rows, static_cast<const T*>(w.const_data_ptr()), y_float.mutable_data_ptr<float>(),
                            kOutputs, kBegin, kEnd, width);
      k.multiply_rows_int8(for_int8.const_data_ptr<float>(), rows, packed.const_data_ptr<int8_t>(), static_cast<T*>(y_int8.mutable_data_ptr()),
                           kOutputs, kBegin, kEnd, width);
      EXPECT_LT(difference(inside(y), inside(exact)), kRounding<T>) << rows << " " << width;
      EXPECT_LT(difference(inside(y_float), inside(exact)), 2e-6) << rows << " " << width;
      EXPECT_LT(difference(inside(y_int8), inside(exact_int8)), kRounding<T>) << rows << " " << width;
      for (const Tensor& out : {y, y_float, y_int8}) {  // nothing beside the range is written
        EXPECT_TRUE((out.narrow(1, 0, kBegin) == 77).all().item<bool>());
        EXPECT_TRUE((out.narrow(1, kEnd, kOutputs - kEnd) == 77).all().item<bool>());
      }
    }
  }
}

TEST(CpuKernels, ProductsOfFewRows) {
  for (const auto& [name, set] : sets()) {
    SCOPED_TRACE(name);
    check_products<float>(*set);
    check_products<uint16_t>(*set);
  }
}

template <class T>
void check_attention(const KernelSet& set) {
  for (const int64_t group : {1, 2, 3}) {
    for (const int64_t positions : {1, 2, 16, 17, 130}) {
      for (const int64_t width : {5, 16, 64, 80, 100}) {
        torch::manual_seed(2);
        const Tensor q = (3 * torch::randn({group, width})).to(kType<T>), keys = torch::randn({positions, width}).to(kType<T>),
                     values = torch::randn({positions, width}).to(kType<T>), out = torch::full({group, width}, NAN).to(kType<T>);
        std::vector<float> scratch(static_cast<size_t>(group * (width + positions + 16)));
        const auto data = [](const Tensor& t) { return static_cast<T*>(t.data_ptr()); };
        of(set, T()).attend(data(q), data(keys), data(values), data(out), scratch.data(), group, positions, width, 0.4f);
        const auto p = (0.4 * at::mm(q.to(torch::kFloat64), keys.to(torch::kFloat64).t())).softmax(1);
        EXPECT_LT(difference(out, at::mm(p, values.to(torch::kFloat64))), kRounding<T>) << group << " " << positions << " " << width;
      }
    }
  }
}

TEST(CpuKernels, AttentionOfSingleRows) {
  for (const auto& [name, set] : sets()) {
    SCOPED_TRACE(name);
    check_attention<float>(*set);
    check_attention<uint16_t>(*set);
  }
}

template <class T>
void check_cross_entropy(const KernelSet& set) {
  for (const int64_t classes : {1, 5, 16, 47, 1003}) {
    constexpr int64_t kRows = 7, kBegin = 1, kEnd = 6;
    torch::manual_seed(3);
    const Tensor logits = (5 * torch::randn({kRows, classes})).to(kType<T>), targets = torch::randint(classes, {kRows}, torch::kInt64),
                 weights = torch::rand({kRows}), losses = torch::full({kRows}, 77.0f), alone = losses.clone(), grad = logits.clone(), kept = logits.clone();
    const auto run = [&](const Tensor& rows, const float* weight, const Tensor& out) {
      of(set, T()).cross_entropy(static_cast<T*>(rows.mutable_data_ptr()), targets.const_data_ptr<int64_t>(), weight, out.mutable_data_ptr<float>(),
                                 kBegin, kEnd, classes);
    };
    run(grad, weights.const_data_ptr<float>(), losses);
    run(kept, nullptr, alone);
    const Tensor exact = logits.to(torch::kFloat64).requires_grad_(), exact_losses = at::cross_entropy_loss(exact, targets, {}, at::Reduction::None);
    (exact_losses * weights).sum().backward();
    const auto inside = [&](const Tensor& t) { return t.narrow(0, kBegin, kEnd - kBegin); };
    EXPECT_LT(difference(inside(losses), inside(exact_losses.detach())), 2e-6) << classes;
    EXPECT_LT(difference(inside(grad), inside(exact.grad())), kRounding<T>) << classes;
    EXPECT_TRUE(torch::equal(losses, alone));
    EXPECT_TRUE(torch::equal(kept, logits));
    for (const int64_t row : {int64_t{0}, kRows - 1}) {
      EXPECT_EQ(losses[row].template item<float>(), 77);
      EXPECT_TRUE(torch::equal(grad[row], logits[row]));
    }
  }
}

TEST(CpuKernels, CrossEntropyAndItsGradient) {
  for (const auto& [name, set] : sets()) {
    SCOPED_TRACE(name);
    check_cross_entropy<float>(*set);
    check_cross_entropy<uint16_t>(*set);
  }
}

TEST(CpuKernels, RowsAreDividedOverThreads) {
  for (const int threads : {1, 2, 3}) {
    const WithThreads set(threads);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    std::vector<int> done(60, 0);
    for_rows(60, 1 << 20, [&](int64_t begin, int64_t end) {
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
      for (int64_t i = begin; i < end; ++i) ++done[static_cast<size_t>(i)];
    });
    EXPECT_EQ(seen.size(), static_cast<size_t>(threads)) << "is the code compiled without OpenMP?";
    EXPECT_EQ(done, std::vector<int>(60, 1));
  }
}

}  // namespace
}  // namespace mose::nn::cpu
