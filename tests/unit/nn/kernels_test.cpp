// The GPU's kernels themselves, run by the CPU (support/cuda_on_cpu.h), against float64.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/cuda/cross_entropy.cu"
#include "nn/cuda/decode_attention.cu"
#include "nn/cuda/rms_norm.cu"
#include "nn/cuda/rotary.cu"
#include "nn/cuda/silu_mul.cu"
#include "support/kernels.h"

namespace mose::nn::cuda {
namespace {

using tests::data;
using tests::difference;
using tests::for_types;
using tests::in_any_order;
using tests::unwritten;
using torch::Tensor;

TEST(Bfloat16, EqualsTorchs) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float x = to_float(half);
    if (x == x)
      ASSERT_EQ(from_float<uint16_t>(x), half);
    else
      ASSERT_EQ(from_float<uint16_t>(x) & 0x7fc0, 0x7fc0);
  }
  torch::manual_seed(1);
  const Tensor x = torch::cat({torch::randn({20000}) * torch::exp2(torch::randint(-140, 127, {20000})),
                               torch::tensor({INFINITY, -INFINITY, 3.4e38f})});
  const Tensor halves = x.to(torch::kBFloat16);
  for (int64_t i = 0; i < x.numel(); ++i)
    ASSERT_EQ(from_float<uint16_t>(data<float>(x)[i]), data<uint16_t>(halves)[i]) << data<float>(x)[i];
}

// One number, parts of a pack and whole ones, more than one block's part of the weight's gradient, more than a block's
// threads.
TEST(Kernels, RmsNorm) {
  for (const auto& [rows, width] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 15}, {5, 16}, {21, 33}, {19, 64}, {2, 2200}}) {
    for_types([&, rows = rows, width = width]<class T>(T, torch::Dtype type, double tolerance) {
      torch::manual_seed(2);
      const Tensor x = (3 * torch::randn({rows, width})).to(type), w = torch::randn({width}).to(type),
                   grad = torch::randn({rows, width}).to(type);
      const int64_t blocks = (rows + kNormRows - 1) / kNormRows;
      const auto out = in_any_order([&] {
        const Tensor y = unwritten({rows, width}, type), scale = unwritten({rows}), dx = unwritten({rows, width}, type),
                     parts = unwritten({blocks, width});
        rms_norm(nullptr, data<T>(x), data<T>(w), data<T>(y), data<float>(scale), rows, width, 1e-5f);
        rms_norm_backward(nullptr, data<T>(grad), data<T>(x), data<T>(w), data<float>(scale), data<T>(dx),
                          data<float>(parts), rows, width);
        const Tensor dx_alone = unwritten({rows, width}, type);  // where the weight does not learn
        rms_norm_backward<T>(nullptr, data<T>(grad), data<T>(x), data<T>(w), data<float>(scale), data<T>(dx_alone),
                             nullptr, rows, width);
        EXPECT_TRUE(torch::equal(dx_alone, dx));
        return std::vector<Tensor>{y, dx, parts};
      });
      const Tensor x64 = x.to(torch::kFloat64).requires_grad_(), w64 = w.to(torch::kFloat64).requires_grad_();
      const Tensor y = x64 * (x64.square().mean(-1, true) + 1e-5).rsqrt() * w64;
      const auto grads = torch::autograd::grad({y}, {x64, w64}, {grad.to(torch::kFloat64)});
      EXPECT_LT(difference(out[0], y), tolerance);
      EXPECT_LT(difference(out[1], grads[0]), tolerance);
      EXPECT_LT(difference(out[2].sum(0), grads[1]), 2e-6);
    });
  }
}

TEST(Kernels, SiluMulOfHalvesAndOfTwoTensors) {
  for (const auto& [rows, width] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 15}, {5, 16}, {4, 1100}, {2, 2400}}) {
    for_types([&, rows = rows, width = width]<class T>(T, torch::Dtype type, double tolerance) {
      torch::manual_seed(3);
      const Tensor both = (5 * torch::randn({rows, 2 * width})).to(type), grad = torch::randn({rows, width}).to(type);
      const T *gate = data<T>(both), *up = gate + width;
      const auto out = in_any_order([&] {
        const Tensor y = unwritten({rows, width}, type), d_both = unwritten({rows, 2 * width}, type),
                     again = unwritten({rows, width}, type);
        silu_mul(nullptr, gate, up, 2 * width, data<T>(y), rows, width);
        silu_mul_backward(nullptr, data<T>(grad), gate, up, 2 * width, data<T>(d_both), data<T>(d_both) + width,
                          2 * width, data<T>(again), rows, width);
        EXPECT_TRUE(torch::equal(again, y));
        return std::vector<Tensor>{y, d_both};
      });
      const Tensor in = both.to(torch::kFloat64).requires_grad_(), g = in.narrow(1, 0, width);
      const Tensor y = g * torch::sigmoid(g) * in.narrow(1, width, width);
      EXPECT_LT(difference(out[0], y), tolerance);
      EXPECT_LT(difference(out[1], torch::autograd::grad({y}, {in}, {grad.to(torch::kFloat64)})[0]), tolerance);

      const Tensor first = both.narrow(1, 0, width).contiguous(), second = both.narrow(1, width, width).contiguous();
      const Tensor y2 = unwritten({rows, width}, type), dg = unwritten({rows, width}, type),
                   du = unwritten({rows, width}, type);
      silu_mul(nullptr, data<T>(first), data<T>(second), width, data<T>(y2), rows, width);
      silu_mul_backward<T>(nullptr, data<T>(grad), data<T>(first), data<T>(second), width, data<T>(dg), data<T>(du),
                           width, nullptr, rows, width);
      EXPECT_TRUE(torch::equal(y2, out[0]));
      EXPECT_TRUE(torch::equal(torch::cat({dg, du}, 1), out[1]));
    });
  }
}

TEST(Kernels, SiluOfFarValuesIsFinite) {
  const Tensor gate = torch::tensor({-1e30f, -200.f, -87.f, -0.f, 0.f, 87.f, 200.f, 1e30f}), one = torch::ones({8});
  const Tensor y = unwritten({8}), dg = unwritten({8}), du = unwritten({8});
  silu_mul(nullptr, data<float>(gate), data<float>(one), 8, data<float>(y), 1, 8);
  silu_mul_backward<float>(nullptr, data<float>(one), data<float>(gate), data<float>(one), 8, data<float>(dg),
                           data<float>(du), 8, nullptr, 1, 8);
  EXPECT_TRUE(torch::allclose(y, at::silu(gate), 1e-6, 1e-8)) << y;
  EXPECT_TRUE(torch::allclose(du, y)) << du;
  EXPECT_TRUE(torch::isfinite(dg).all().item<bool>()) << dg;
}

TEST(Kernels, RotaryWithAPartThatStaysAndRowsThatLieApart) {
  for (const auto& [rows, heads] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {5, 3}, {3, 40}}) {
    for (const auto& [width, half] :
         std::vector<std::pair<int64_t, int64_t>>{{64, 32}, {10, 2}, {34, 17}, {40, 16}, {2, 1}}) {
      for_types([&, rows = rows, heads = heads, width = width, half = half]<class T>(T, torch::Dtype type,
                                                                                     double tolerance) {
        torch::manual_seed(4);
        const int64_t stride = heads * width + 16;
        const Tensor x = torch::randn({rows, stride}).to(type), angles = torch::randn({rows, half}), cos = angles.cos(),
                     sin = angles.sin();
        const auto out = in_any_order([&] {
          const Tensor there = unwritten({rows, heads, width}, type), back = unwritten({rows, heads, width}, type);
          rotate(nullptr, data<T>(x), stride, data<float>(cos), data<float>(sin), 1.0f, data<T>(there), rows, heads,
                 width, half);
          rotate(nullptr, data<T>(there), heads * width, data<float>(cos), data<float>(sin), -1.0f, data<T>(back), rows,
                 heads, width, half);
          return std::vector<Tensor>{there, back};
        });
        const Tensor in = x.narrow(1, 0, heads * width).reshape({rows, heads, width}),
                     a = in.narrow(2, 0, half).to(torch::kFloat64), b = in.narrow(2, half, half).to(torch::kFloat64),
                     c = cos.unsqueeze(1), s = sin.unsqueeze(1);
        EXPECT_LT(
            difference(out[0], torch::cat({a * c - b * s, b * c + a * s, in.narrow(2, 2 * half, width - 2 * half)}, 2)),
            tolerance);
        EXPECT_LT(difference(out[1], in.to(torch::kFloat64)), tolerance);  // the gradient is turned back
      });
    }
  }
}

TEST(Kernels, CrossEntropy) {
  for (const auto& [rows, classes] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 5}, {5, 16}, {4, 1003}, {2, 9000}}) {
    for_types([&, rows = rows, classes = classes]<class T>(T, torch::Dtype type, double tolerance) {
      torch::manual_seed(5);
      const Tensor logits = (8 * torch::randn({rows, classes})).to(type),
                   targets = torch::randint(classes, {rows}, torch::kInt64), weights = torch::rand({rows});
      const auto out = in_any_order([&] {
        const Tensor losses = unwritten({rows}), alone = unwritten({rows}), grad = logits.clone(),
                     kept = logits.clone();
        cross_entropy(nullptr, data<T>(grad), data<int64_t>(targets), data<float>(weights), data<float>(losses), rows,
                      classes);
        cross_entropy<T>(nullptr, data<T>(kept), data<int64_t>(targets), nullptr, data<float>(alone), rows, classes);
        EXPECT_TRUE(torch::equal(kept, logits));
        EXPECT_TRUE(torch::equal(alone, losses));
        return std::vector<Tensor>{losses, grad};
      });
      const Tensor in = logits.to(torch::kFloat64).requires_grad_();
      const Tensor losses = at::cross_entropy_loss(in, targets, {}, at::Reduction::None);
      EXPECT_LT(difference(out[0], losses), 2e-6);
      EXPECT_LT(difference(out[1], torch::autograd::grad({(losses * weights).sum()}, {in})[0]), tolerance);
    });
  }
}

TEST(Kernels, CrossEntropyRefusesATargetOutsideTheClasses) {
  for (const int64_t target : {-1, 5}) {
    const Tensor logits = torch::zeros({1, 5}), targets = torch::tensor({target}), losses = torch::zeros({1});
    EXPECT_THROW(
        cross_entropy<float>(nullptr, data<float>(logits), data<int64_t>(targets), nullptr, data<float>(losses), 1, 5),
        std::runtime_error);
  }
}

TEST(Kernels, NotANumberIsNotHidden) {
  const Tensor logits = torch::tensor({{0.f, NAN, 1.f}}), targets = torch::tensor({0}, torch::kInt64),
               losses = torch::zeros({1});
  cross_entropy<float>(nullptr, data<float>(logits), data<int64_t>(targets), nullptr, data<float>(losses), 1, 3);
  EXPECT_TRUE(losses.isnan().item<bool>());
}

// Rows at these positions attend to what the cache then holds, against float64, sequence by sequence.
template <class T>
void expect_attention(torch::Dtype type, double tolerance, const std::vector<int64_t>& ends, int64_t heads, int64_t kv_heads, int64_t width,
                      int64_t window) {
  torch::manual_seed(6);
  const int64_t rows = static_cast<int64_t>(ends.size()), capacity = 200, chunks = (capacity + kAttentionChunk - 1) / kAttentionChunk;
  const Tensor q = torch::randn({rows, heads, width}).to(type), k = torch::randn({rows, kv_heads, width}).to(type),
               v = torch::randn({rows, kv_heads, width}).to(type), places = (rows - torch::arange(rows)).contiguous(), end = torch::tensor(ends);
  // Behind every sequence's end are numbers that would show; place 0 is nobody's.
  Tensor keys = torch::randn({rows + 1, kv_heads, capacity, width}).to(type), values = torch::randn({rows + 1, kv_heads, capacity, width}).to(type);
  for (int64_t n = 0; n < rows; ++n) {
    keys[rows - n].slice(1, ends[static_cast<size_t>(n)]).fill_(NAN);
    values[rows - n].slice(1, ends[static_cast<size_t>(n)]).fill_(NAN);
  }
  const auto out = in_any_order([&] {
    const Tensor parts = unwritten({rows, heads, chunks, width + 2}), y = unwritten({rows, heads, width}, type), new_keys = keys.clone(),
                 new_values = values.clone();
    store_rows(nullptr, data<T>(k), data<T>(v), data<int64_t>(places), data<int64_t>(end), data<T>(new_keys), data<T>(new_values), rows, kv_heads,
               capacity, width);
    attend_rows(nullptr, data<T>(q), data<T>(new_keys), data<T>(new_values), data<int64_t>(places), data<int64_t>(end), data<float>(parts), data<T>(y),
                rows, heads, kv_heads, capacity, width, window, chunks);
    for (int64_t n = 0; n < rows; ++n) {
      EXPECT_TRUE(torch::equal(new_keys[rows - n].select(1, ends[static_cast<size_t>(n)]), k[n]));
      EXPECT_TRUE(torch::equal(new_values[rows - n].select(1, ends[static_cast<size_t>(n)]), v[n]));
    }
    EXPECT_TRUE(torch::equal(new_keys[0], keys[0]));
    return std::vector<Tensor>{y};
  });
  for (int64_t n = 0; n < rows; ++n) {
    const int64_t last = ends[static_cast<size_t>(n)], first = window > 0 ? std::max<int64_t>(0, last + 1 - window) : 0;
    const auto seen = [&](const Tensor& stored, const Tensor& row) {
      return torch::cat({stored[rows - n].slice(1, first, last), row[n].unsqueeze(1)}, 1).to(torch::kFloat64).repeat_interleave(heads / kv_heads, 0);
    };
    const Tensor scores = seen(keys, k).matmul(q[n].to(torch::kFloat64).unsqueeze(2)).squeeze(2) / std::sqrt(static_cast<double>(width));
    const Tensor want = scores.softmax(1).unsqueeze(1).matmul(seen(values, v)).squeeze(1);
    EXPECT_LT(difference(out[0][n], want), tolerance) << "row " << n << ", " << heads << " heads of " << width << ", window " << window;
  }
}

TEST(Kernels, AttentionOfSingleRowsOverACache) {
  for_types([&]<class T>(T, torch::Dtype type, double tolerance) {
    for (const int64_t window : {0, 1, 70}) {
      expect_attention<T>(type, tolerance, {0, 1, 63, 64, 65, 199}, 4, 2, 8, window);  // around the edges of chunks
    }
    expect_attention<T>(type, tolerance, {130}, 1, 1, 17, 0);
    expect_attention<T>(type, tolerance, {5, 128}, 6, 1, 128, 0);
    expect_attention<T>(type, tolerance, {70}, 2, 2, 256, 0);
    expect_attention<T>(type, tolerance, {70}, 2, 1, 255, 0);
  });
}

TEST(Kernels, AttentionRefusesAPositionOutsideTheCache) {
  for (const int64_t position : {-1, 3}) {
    const Tensor row = torch::zeros({1, 1, 4}), cache = torch::zeros({1, 1, 3, 4}), place = torch::zeros({1}, torch::kInt64), end = torch::full({1}, position, torch::kInt64);
    EXPECT_THROW(store_rows(nullptr, data<float>(row), data<float>(row), data<int64_t>(place), data<int64_t>(end), data<float>(cache), data<float>(cache), 1, 1, 3, 4),
                 std::runtime_error);
  }
}

}  // namespace
}  // namespace mose::nn::cuda
