#include "mose/nn/attention.h"

#include <torch/torch.h>

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/strings.h"

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

torch::Tensor attend_dense(const torch::Tensor& q, torch::Tensor k, torch::Tensor v,
                           const std::optional<torch::Tensor>& mask, bool causal) {
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

KvCache::KvCache(int64_t layers, int64_t sequences, int64_t heads, int64_t capacity,
                 int64_t head_width, torch::TensorOptions options)
    : capacity_(capacity), lengths_(static_cast<size_t>(sequences), 0) {
  for (int64_t i = 0; i < layers; ++i) {
    keys_.push_back(torch::zeros({sequences, heads, capacity, head_width}, options));
    values_.push_back(torch::zeros({sequences, heads, capacity, head_width}, options));
  }
}

void KvCache::select(const std::vector<int64_t>& sequences) {
  const auto index = torch::tensor(sequences, torch::kInt64).to(keys_.front().device());
  std::vector<int64_t> lengths;
  for (const int64_t n : sequences) lengths.push_back(lengths_.at(static_cast<size_t>(n)));
  lengths_ = std::move(lengths);
  for (auto& k : keys_) k = k.index_select(0, index);
  for (auto& v : values_) v = v.index_select(0, index);
  masks_.clear();
}

void KvCache::advance(const SequencePlan& plan) {
  for (size_t n = 0; n < lengths_.size(); ++n) lengths_[n] += plan.offsets[n + 1] - plan.offsets[n];
  masks_.clear();
}

torch::Tensor KvCache::attend(int64_t layer, const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                              const torch::Tensor& v_TKd, const SequencePlan& plan, int64_t window) {
  check_heads(q_THd, k_TKd, plan);
  if (plan.sequences() != static_cast<int64_t>(lengths_.size())) {
    throw Error(str("KvCache: the plan has ", plan.sequences(), " sequences, the cache ", lengths_.size()));
  }
  auto& keys = keys_.at(static_cast<size_t>(layer));
  auto& values = values_.at(static_cast<size_t>(layer));
  const int64_t N = plan.sequences();
  int64_t longest = 0;
  for (int64_t n = 0; n < N; ++n) {
    const auto i = static_cast<size_t>(n);
    longest = std::max(longest, lengths_[i] + plan.offsets[i + 1] - plan.offsets[i]);
  }
  if (longest > capacity_) {
    throw Error(str("KvCache: ", longest, " positions exceed the capacity of ", capacity_));
  }
  if (plan.longest == 1) {
    // One new row a sequence: all sequences in one call, what lies beyond each one's end masked.
    const auto ends = torch::tensor(lengths_, torch::kInt64).to(keys.device());
    const auto rows = torch::arange(N, ends.options());
    keys.index_put_({rows, torch::indexing::Slice(), ends}, k_TKd);
    values.index_put_({rows, torch::indexing::Slice(), ends}, v_TKd);
    auto& mask = masks_[window];
    if (!mask.defined()) {
      const auto at = torch::arange(longest, ends.options()).unsqueeze(0), end = ends.unsqueeze(1);
      mask = (window > 0 ? (at <= end).logical_and(at > end - window) : at <= end).view({N, 1, 1, longest});
    }
    // The query heads that share a head of keys are rows of one product, so that nothing stored is repeated.
    const int64_t heads = q_THd.size(1), d = q_THd.size(2);
    const auto out = attend_dense(q_THd.reshape({N, k_TKd.size(1), -1, d}), keys.narrow(2, 0, longest),
                                  values.narrow(2, 0, longest), mask, false);
    return out.reshape({N, heads, d});
  }
  std::vector<torch::Tensor> outputs;
  for (int64_t n = 0; n < N; ++n) {
    const auto i = static_cast<size_t>(n);
    const int64_t begin = plan.offsets[i], rows = plan.offsets[i + 1] - begin, start = lengths_[i];
    keys[n].narrow(1, start, rows).copy_(k_TKd.narrow(0, begin, rows).transpose(0, 1));
    values[n].narrow(1, start, rows).copy_(v_TKd.narrow(0, begin, rows).transpose(0, 1));
    const auto q = heads_first(q_THd.narrow(0, begin, rows));
    const auto k = keys[n].narrow(1, 0, start + rows).unsqueeze(0);
    const auto v = values[n].narrow(1, 0, start + rows).unsqueeze(0);
    std::optional<torch::Tensor> mask;
    if (start > 0 || (window > 0 && window < rows)) mask = causal_mask(rows, start, window, q.options());
    outputs.push_back(attend_dense(q, k, v, mask, !mask).squeeze(0).transpose(0, 1));
  }
  return torch::cat(outputs, 0);
}

}  // namespace mose::nn
