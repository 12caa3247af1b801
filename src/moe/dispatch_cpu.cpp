#include "moe/dispatch_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "nn/cpu/tensors.h"

namespace mose::moe::cpu {
namespace {

using torch::Tensor;

// The types that nn/cpu has no kernels for.
#define MOSE_DISPATCH_OTHERS(type, name, ...) \
  AT_DISPATCH_SWITCH(type, name, AT_DISPATCH_CASE(at::kDouble, __VA_ARGS__) AT_DISPATCH_CASE(at::kHalf, __VA_ARGS__))

// Rows a thread takes at least: about 32 thousand elements.
int64_t grain(int64_t row_elements) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, row_elements)); }

// out[t] = sum_k weight(t, k) * rows[row[t, k]]; a null weight counts 1.
template <class T>
void weighted_sum(const T* rows, const float* weights, const int64_t* row, T* out, int64_t tokens, int64_t k,
                  int64_t width) {
  using Sum = at::opmath_type<T>;
  at::parallel_for(0, tokens, grain(k * width), [&](int64_t begin, int64_t end) {
    std::vector<Sum> sum(static_cast<size_t>(width));
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < k; ++i) {
        const T* in = rows + row[t * k + i] * width;
        const Sum w = weights ? static_cast<Sum>(weights[t * k + i]) : Sum(1);
        if (i == 0) {
          for (int64_t d = 0; d < width; ++d) sum[static_cast<size_t>(d)] = w * static_cast<Sum>(in[d]);
        } else {
          for (int64_t d = 0; d < width; ++d) sum[static_cast<size_t>(d)] += w * static_cast<Sum>(in[d]);
        }
      }
      T* y = out + t * width;
      for (int64_t d = 0; d < width; ++d) y[d] = static_cast<T>(sum[static_cast<size_t>(d)]);
    }
  });
}

}  // namespace

Dispatch plan_dispatch(const Tensor& experts_TK, int64_t experts) {
  const Tensor chosen = experts_TK.contiguous();
  const int64_t* e = chosen.const_data_ptr<int64_t>();
  const int64_t choices = chosen.numel(), k = chosen.size(1);
  Dispatch d;
  d.counts_E.assign(static_cast<size_t>(experts), 0);
  for (int64_t i = 0; i < choices; ++i) {
    if (e[i] < 0 || e[i] >= experts) {
      throw Error(str("moe dispatch: token ", i / k, " chose expert ", e[i], ": expected 0 to ", experts - 1));
    }
    ++d.counts_E[static_cast<size_t>(e[i])];
  }
  std::vector<int64_t> next(static_cast<size_t>(experts), 0);
  for (size_t i = 1; i < next.size(); ++i) next[i] = next[i - 1] + d.counts_E[i - 1];
  d.token_R = nn::empty({choices}, torch::kInt64);
  d.row_TK = nn::empty(chosen.sizes(), torch::kInt64);
  int64_t* token = d.token_R.mutable_data_ptr<int64_t>();
  int64_t* row = d.row_TK.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < choices; ++i) {
    row[i] = next[static_cast<size_t>(e[i])]++;
    token[row[i]] = i / k;
  }
  return d;
}

Tensor top_k_indices(const Tensor& values_TE, int64_t k) {
  const Tensor values = values_TE.to(torch::kFloat32).contiguous();
  const int64_t tokens = values.size(0), experts = values.size(1);
  Tensor indices = nn::empty({tokens, k}, torch::kInt64);
  const float* v = values.const_data_ptr<float>();
  int64_t* out = indices.mutable_data_ptr<int64_t>();
  at::parallel_for(0, tokens, grain(k * experts), [&](int64_t begin, int64_t end) {
    std::vector<bool> taken(static_cast<size_t>(experts));
    for (int64_t t = begin; t < end; ++t) {
      taken.assign(static_cast<size_t>(experts), false);
      for (int64_t i = 0; i < k; ++i) {
        int64_t best = -1;
        for (int64_t e = 0; e < experts; ++e) {
          // `best < 0` first, so that rows of NaN still give k different experts.
          if (!taken[static_cast<size_t>(e)] && (best < 0 || v[t * experts + e] > v[t * experts + best])) best = e;
        }
        taken[static_cast<size_t>(best)] = true;
        out[t * k + i] = best;
      }
    }
  });
  return indices;
}

void route(Routing& routing, int64_t k, bool normalise) {
  const Tensor& p_TE = routing.probabilities_TE;
  const int64_t tokens = p_TE.size(0), experts = p_TE.size(1);
  routing.experts_TK = top_k_indices(p_TE, k);
  routing.weights_TK = nn::empty({tokens, k}, p_TE.options());
  const float* p = p_TE.const_data_ptr<float>();
  const int64_t* chosen = routing.experts_TK.const_data_ptr<int64_t>();
  float* weights = routing.weights_TK.mutable_data_ptr<float>();
  for (int64_t t = 0; t < tokens; ++t) {
    float sum = 0;
    for (int64_t i = t * k; i < (t + 1) * k; ++i) sum += weights[i] = p[t * experts + chosen[i]];
    for (int64_t i = t * k; normalise && i < (t + 1) * k; ++i) weights[i] /= sum;
  }
}

Tensor gather(const Tensor& x_TD, const Tensor& token_R) {
  Tensor rows = nn::empty({token_R.size(0), x_TD.size(1)}, x_TD.options());
  at::index_select_out(rows, x_TD, 0, token_R);
  return rows;
}

Tensor sum_choices(const Tensor& rows_RD, const Tensor& row_TK) { return combine(rows_RD, Tensor(), row_TK); }

Tensor combine(const Tensor& rows_RD, const Tensor& weights_TK, const Tensor& row_TK) {
  const Tensor rows = rows_RD.contiguous(), weights = weights_TK.defined() ? weights_TK.contiguous() : weights_TK;
  const int64_t tokens = row_TK.size(0), k = row_TK.size(1), width = rows.size(1);
  const float* w = weights.defined() ? weights.const_data_ptr<float>() : nullptr;
  const int64_t* row = row_TK.const_data_ptr<int64_t>();
  Tensor out = nn::empty({tokens, width}, rows.options());
  if (nn::cpu::has_kernels(rows)) {
    nn::cpu::with_kernels(rows, [&]<class T>(const auto& kernels, T) {
      nn::cpu::for_rows(tokens, k * width, [&](int64_t begin, int64_t end) {
        kernels.weighted_sum(nn::cpu::in<T>(rows), w, row, nn::cpu::out<T>(out), begin, end, k, width);
      });
    });
    return out;
  }
  MOSE_DISPATCH_OTHERS(rows.scalar_type(), "combine", [&] {
    weighted_sum<scalar_t>(rows.const_data_ptr<scalar_t>(), w, row, out.mutable_data_ptr<scalar_t>(), tokens, k, width);
  });
  return out;
}

CombineGradients combine_backward(const Tensor& grad_TD, const Tensor& rows_RD, const Tensor& weights_TK,
                                  const Tensor& row_TK) {
  const Tensor grad = grad_TD.contiguous(), rows = rows_RD.contiguous(), weights = weights_TK.contiguous();
  CombineGradients out{torch::empty_like(rows), torch::empty_like(weights)};
  const int64_t k = row_TK.size(1), width = rows.size(1);
  if (nn::cpu::has_kernels(rows)) {
    nn::cpu::with_kernels(rows, [&]<class T>(const auto& kernels, T) {
      nn::cpu::for_rows(row_TK.size(0), k * width, [&](int64_t begin, int64_t end) {
        kernels.weighted_sum_backward(nn::cpu::in<T>(grad), nn::cpu::in<T>(rows), nn::cpu::in<float>(weights),
                                      row_TK.const_data_ptr<int64_t>(), nn::cpu::out<T>(out.rows_RD),
                                      nn::cpu::out<float>(out.weights_TK), begin, end, k, width);
      });
    });
    return out;
  }
  MOSE_DISPATCH_OTHERS(rows.scalar_type(), "combine_backward", [&] {
    using Sum = at::opmath_type<scalar_t>;
    const scalar_t* dy = grad.const_data_ptr<scalar_t>();
    const scalar_t* r = rows.const_data_ptr<scalar_t>();
    const float* w = weights.const_data_ptr<float>();
    const int64_t* row = row_TK.const_data_ptr<int64_t>();
    scalar_t* dr = out.rows_RD.mutable_data_ptr<scalar_t>();
    float* dw = out.weights_TK.mutable_data_ptr<float>();
    at::parallel_for(0, row_TK.size(0), grain(k * width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * k; i < end * k; ++i) {
        const scalar_t* y = dy + (i / k) * width;
        const scalar_t* in = r + row[i] * width;
        scalar_t* to = dr + row[i] * width;
        const Sum weight = static_cast<Sum>(w[i]);
        Sum total = 0;
        for (int64_t d = 0; d < width; ++d) {
          const Sum g = static_cast<Sum>(y[d]);
          total += g * static_cast<Sum>(in[d]);
          to[d] = static_cast<scalar_t>(weight * g);
        }
        dw[i] = static_cast<float>(total);
      }
    });
  });
  return out;
}

}  // namespace mose::moe::cpu
