// Moves rows to their experts and back: one stable counting sort, no padding, no dropped tokens.
//
//   Dispatch d = plan_dispatch(routing.experts_TK, experts);
//   Tensor rows_RD = gather_rows(x_TD, d);               // R = T * K rows sorted by expert
//   Tensor out_RD = experts.forward(rows_RD, d.counts_E);
//   Tensor y_TD = combine_rows(out_RD, routing.weights_TK, d);
//
// gather_rows and combine_rows carry gradient; their backward passes read through the inverse
// permutation, so nothing is added atomically and repeated runs are bitwise equal.
#pragma once

#include <torch/types.h>

#include <vector>

namespace mose::moe {

struct Dispatch {
  torch::Tensor token_R;           // int64: the token of each sorted row
  torch::Tensor row_TK;            // int64: the sorted row of each choice (the inverse permutation)
  torch::Tensor ends_E;            // int32: where the rows of each expert end; undefined on a CPU
  std::vector<int64_t> counts_E;   // rows of each expert, on the host
};

// experts_TK int64, values in [0, experts); Error otherwise. Rows of one expert keep token order. On
// an accelerator the counts are the one thing that is read back; without `read_counts` they may be left
// out, and the host waits for nothing. A GPU, which then cannot tell of a wrong value, prints it and ends
// its work: the next wait throws.
Dispatch plan_dispatch(const torch::Tensor& experts_TK, int64_t experts, bool read_counts = true);

// rows[r] = x[token[r]]
torch::Tensor gather_rows(const torch::Tensor& x_TD, const Dispatch& dispatch);

// y[t] = sum_k weights[t, k] * rows[row[t, k]], summed in float32 (float64 for float64 rows).
torch::Tensor combine_rows(const torch::Tensor& rows_RD, const torch::Tensor& weights_TK,
                           const Dispatch& dispatch);

// The K largest of each row, largest first, the lower index first among equals: int64 [T, K].
torch::Tensor top_k_indices(const torch::Tensor& values_TE, int64_t k);

}  // namespace mose::moe
