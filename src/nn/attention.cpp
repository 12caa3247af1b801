#include "mose/nn/attention.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "nn/cpu/few_rows.h"
#include "nn/cpu/tensors.h"
#include "nn/cuda/tensors.h"

namespace mose::nn {

torch::Tensor full_attention(const torch::Tensor& q_BPD, const torch::Tensor& k_BPD, const torch::Tensor& v_BPD,
                             int64_t heads) {
  const int64_t B = q_BPD.size(0), P = q_BPD.size(1), D = q_BPD.size(2);
  const auto split = [&](const torch::Tensor& x) { return x.view({B, P, heads, D / heads}).transpose(1, 2); };
  const auto out = at::scaled_dot_product_attention(split(q_BPD), split(k_BPD), split(v_BPD));
  return out.transpose(1, 2).reshape({B, P, D});
}

namespace {

// [L, H, d] rows -> [1, H, L, d]
torch::Tensor heads_first(const torch::Tensor& x_LHd) { return x_LHd.transpose(0, 1).unsqueeze(0); }

// [rows, start + rows]: row r sees up to position start + r, and no further back than the window.
torch::Tensor causal_mask(int64_t rows, int64_t start, int64_t window, torch::TensorOptions options) {
  auto mask = torch::ones({rows, start + rows}, options.dtype(torch::kBool)).tril(start);
  return window > 0 ? mask.triu(start - window + 1) : mask;
}

// In bfloat16 on a CPU whose matrix products are of that type, PyTorch's attention takes 2.3 times as long at 320 rows and 1.4
// times at 1024 as two products and a softmax between them, since it multiplies by MKL, in float32 on CPUs that are not Intel's.
// Beyond that many rows the scores, H L^2, take too much memory.
constexpr int64_t kFewestRows = 32, kMostRows = 1024;

bool cpu_multiplies_bfloat16() {
#if defined(__x86_64__)
  static const bool found = __builtin_cpu_supports("avx512bf16");
  return found;
#else
  return false;
#endif
}

bool attends_by_products(const torch::Tensor& q, const torch::Tensor& k) {
  return q.is_cpu() && q.scalar_type() == torch::kBFloat16 && k.scalar_type() == torch::kBFloat16 && q.size(0) == 1 &&
         q.size(2) >= kFewestRows && k.size(2) <= kMostRows && cpu_multiplies_bfloat16();
}

// q [1, H, L, d]; k, v [1, K, S, d]; mask [L, S] of bool. The H / K heads of one head of keys are rows of one product.
torch::Tensor attend_by_products(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, const torch::Tensor& mask) {
  const int64_t H = q.size(1), L = q.size(2), d = q.size(3), K = k.size(1), groups = H / K;
  const auto hidden = torch::zeros(mask.sizes(), q.options()).masked_fill_(mask.logical_not(), -std::numeric_limits<float>::infinity());
  const auto rows = q.reshape({K, groups * L, d});
  const auto scores = torch::baddbmm(hidden.repeat({groups, 1}), rows, k[0].transpose(1, 2), 1, 1 / std::sqrt(static_cast<double>(d)));
  return torch::bmm(torch::softmax(scores, -1), v[0]).view({1, H, L, d});
}

torch::Tensor attend_dense(const torch::Tensor& q, torch::Tensor k, torch::Tensor v,
                           const std::optional<torch::Tensor>& mask, bool causal) {
  if (attends_by_products(q, k)) return attend_by_products(q, k, v, mask ? *mask : causal_mask(q.size(2), 0, 0, q.options()));
  const int64_t groups = q.size(1) / k.size(1);
  if (groups > 1) {
    k = k.repeat_interleave(groups, 1);
    v = v.repeat_interleave(groups, 1);
  }
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal);
}

void check_heads(const torch::Tensor& q, const torch::Tensor& k, const SequencePlan& plan) {
  if (q.dim() != 3 || k.dim() != 3 || q.size(0) != plan.tokens() || q.size(1) % k.size(1) != 0) {
    throw Error(mose::str("attention: expected q [", plan.tokens(), ", heads, d] with a multiple of k's heads, "
                    "found q ", q.sizes(), " and k ", k.sizes()));
  }
}

}  // namespace

torch::Tensor packed_attention(const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                               const torch::Tensor& v_TKd, const SequencePlan& plan, int64_t window) {
  check_heads(q_THd, k_TKd, plan);
  std::vector<int64_t> lengths;
  for (int64_t n = 0; n < plan.sequences(); ++n) {
    lengths.push_back(plan.offsets[static_cast<size_t>(n) + 1] - plan.offsets[static_cast<size_t>(n)]);
  }
  const auto q = q_THd.split_with_sizes(lengths), k = k_TKd.split_with_sizes(lengths),
             v = v_TKd.split_with_sizes(lengths);
  if (lengths.empty()) return v_TKd.repeat_interleave(q_THd.size(1) / v_TKd.size(1), 1);  // no rows
  std::vector<torch::Tensor> outputs;
  outputs.reserve(q.size());
  for (size_t n = 0; n < q.size(); ++n) {
    std::optional<torch::Tensor> mask;
    if (window > 0 && window < lengths[n]) mask = causal_mask(lengths[n], 0, window, q_THd.options());
    const auto out = attend_dense(heads_first(q[n]), heads_first(k[n]), heads_first(v[n]), mask, !mask);
    outputs.push_back(out.squeeze(0).transpose(0, 1));
  }
  return outputs.size() == 1 ? outputs[0].contiguous() : torch::cat(outputs, 0);
}

KvCache::KvCache(int64_t layers, int64_t places, int64_t heads, int64_t capacity,
                 int64_t head_width, torch::TensorOptions options)
    : capacity_(capacity), lengths_(static_cast<size_t>(places), 0), places_(static_cast<size_t>(places)) {
  std::iota(places_.begin(), places_.end(), int64_t{0});
  for (int64_t i = 0; i < layers; ++i) {
    keys_.push_back(torch::zeros({places, heads, capacity, head_width}, options));
    values_.push_back(torch::zeros({places, heads, capacity, head_width}, options));
  }
  places_P_ = torch::arange(2 * places, options.dtype(torch::kInt64));
}

void KvCache::reserve(int64_t capacity) {
  if (capacity <= capacity_) return;
  for (auto* stored : {&keys_, &values_}) {
    for (auto& t : *stored) {
      auto wider = torch::zeros({t.size(0), t.size(1), capacity, t.size(3)}, t.options());
      wider.narrow(2, 0, capacity_).copy_(t);
      t = std::move(wider);
    }
  }
  capacity_ = capacity;
}

void KvCache::begin(int64_t place, int64_t from, int64_t positions) {
  if (positions > lengths_.at(static_cast<size_t>(from))) {
    throw Error(str("KvCache: ", positions, " positions of place ", from, ", which holds ", lengths_[static_cast<size_t>(from)]));
  }
  if (place != from && positions > 0) {
    for (auto* stored : {&keys_, &values_}) {
      for (auto& t : *stored) t[place].narrow(1, 0, positions).copy_(t[from].narrow(1, 0, positions));
    }
  }
  lengths_.at(static_cast<size_t>(place)) = positions;
}

void KvCache::run(const std::vector<int64_t>& places) {
  masks_.clear();
  if (places == places_) return;
  if (static_cast<int64_t>(places.size()) > places_P_.size(0)) throw Error(str("KvCache: ", places.size(), " rows for ", lengths_.size(), " places"));
  in_order_ = true;
  for (size_t n = 0; n < places.size(); ++n) {
    if (places[n] < 0 || places[n] >= static_cast<int64_t>(lengths_.size())) {
      throw Error(str("KvCache: place ", places[n], " of ", lengths_.size()));
    }
    in_order_ = in_order_ && places[n] == static_cast<int64_t>(n);
  }
  places_ = places;
  places_P_.narrow(0, 0, static_cast<int64_t>(places.size())).copy_(torch::tensor(places, torch::kInt64), /*non_blocking=*/true);
}

void KvCache::advance(const SequencePlan& plan) {
  for (size_t n = 0; n < places_.size(); ++n) {
    lengths_[static_cast<size_t>(places_[n])] += plan.offsets[n + 1] - plan.offsets[n];
  }
  masks_.clear();
}

// All sequences in one call, what lies beyond each one's end masked.
torch::Tensor KvCache::attend_single_rows(torch::Tensor& keys, torch::Tensor& values, const torch::Tensor& q_THd,
                                          const torch::Tensor& k_TKd, const torch::Tensor& v_TKd, const torch::Tensor& ends, int64_t longest,
                                          int64_t window) {
  if (cpu::has_kernels(q_THd) && !needs_gradient(q_THd, k_TKd, v_TKd) && q_THd.scalar_type() == keys.scalar_type() &&
      k_TKd.scalar_type() == keys.scalar_type() && v_TKd.scalar_type() == keys.scalar_type()) {
    return cpu::attend(q_THd.contiguous(), k_TKd.contiguous(), v_TKd.contiguous(), keys, values, places_, lengths_, window);
  }
  const int64_t N = static_cast<int64_t>(places_.size()), heads = q_THd.size(1), d = q_THd.size(2);
  const auto rows = places_P_.narrow(0, 0, N);
  if (cuda::has_kernels(keys) && q_THd.scalar_type() == keys.scalar_type() && k_TKd.scalar_type() == keys.scalar_type() && d <= cuda::kWidestHead) {
    const int64_t kv_heads = keys.size(1), chunks = (longest + cuda::kAttentionChunk - 1) / cuda::kAttentionChunk;
    const auto q = q_THd.contiguous(), k = k_TKd.contiguous(), v = v_TKd.contiguous(), out = torch::empty_like(q);
    const auto parts = torch::empty({N, heads, chunks, d + 2}, q.options().dtype(torch::kFloat32));
    cuda::with_kernels(keys, [&]<class T>(auto stream, T) {
      cuda::store_rows(stream, cuda::in<T>(k), cuda::in<T>(v), cuda::in<int64_t>(rows), cuda::in<int64_t>(ends), cuda::out<T>(keys), cuda::out<T>(values),
                       N, kv_heads, capacity_, d);
      cuda::attend_rows(stream, cuda::in<T>(q), cuda::in<T>(keys), cuda::in<T>(values), cuda::in<int64_t>(rows), cuda::in<int64_t>(ends),
                        cuda::out<float>(parts), cuda::out<T>(out), N, heads, kv_heads, capacity_, d, window, chunks);
    });
    return out;
  }
  keys.index_put_({rows, torch::indexing::Slice(), ends}, k_TKd);
  values.index_put_({rows, torch::indexing::Slice(), ends}, v_TKd);
  auto& mask = masks_[window];
  if (!mask.defined()) {
    const auto at = torch::arange(longest, ends.options()).unsqueeze(0), end = ends.unsqueeze(1);
    mask = (window > 0 ? (at <= end).logical_and(at > end - window) : at <= end).view({N, 1, 1, longest});
  }
  const auto read = [&](const torch::Tensor& t) {
    return (in_order_ ? t.narrow(0, 0, N) : t.index_select(0, rows)).narrow(2, 0, longest);
  };
  // The query heads that share a head of keys are rows of one product, so that nothing stored is repeated.
  const auto out = attend_dense(q_THd.reshape({N, k_TKd.size(1), -1, d}), read(keys), read(values), mask, false);
  return out.reshape({N, heads, d});
}

torch::Tensor KvCache::attend(int64_t layer, const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                              const torch::Tensor& v_TKd, const SequencePlan& plan, int64_t window) {
  check_heads(q_THd, k_TKd, plan);
  if (plan.sequences() != static_cast<int64_t>(places_.size())) {
    throw Error(str("KvCache: the plan has ", plan.sequences(), " sequences, the cache runs ", places_.size()));
  }
  auto& keys = keys_.at(static_cast<size_t>(layer));
  auto& values = values_.at(static_cast<size_t>(layer));
  int64_t longest = 0;
  for (size_t n = 0; n < places_.size(); ++n) {
    longest = std::max(longest, lengths_[static_cast<size_t>(places_[n])] + plan.offsets[n + 1] - plan.offsets[n]);
  }
  if (longest > capacity_) {
    throw Error(str("KvCache: ", longest, " positions exceed the capacity of ", capacity_));
  }
  if (looked_ > 0) longest = std::min(std::max(longest, looked_), capacity_);
  if (plan.longest == 1) return attend_single_rows(keys, values, q_THd, k_TKd, v_TKd, plan.positions_T, longest, window);
  std::vector<torch::Tensor> outputs;
  for (size_t n = 0; n < places_.size(); ++n) {
    const int64_t place = places_[n], start = lengths_[static_cast<size_t>(place)];
    const int64_t begin = plan.offsets[n], rows = plan.offsets[n + 1] - begin;
    keys[place].narrow(1, start, rows).copy_(k_TKd.narrow(0, begin, rows).transpose(0, 1));
    values[place].narrow(1, start, rows).copy_(v_TKd.narrow(0, begin, rows).transpose(0, 1));
    const auto q = heads_first(q_THd.narrow(0, begin, rows));
    const auto k = keys[place].narrow(1, 0, start + rows).unsqueeze(0);
    const auto v = values[place].narrow(1, 0, start + rows).unsqueeze(0);
    std::optional<torch::Tensor> mask;
    if (start > 0 || (window > 0 && window < rows)) mask = causal_mask(rows, start, window, q.options());
    outputs.push_back(attend_dense(q, k, v, mask, !mask).squeeze(0).transpose(0, 1));
  }
  return torch::cat(outputs, 0);
}

}  // namespace mose::nn
