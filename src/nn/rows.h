#pragma once

#include <torch/types.h>

namespace mose::nn {

// The rows that are asked for: those of rows_R (int64), all where it is undefined.
inline torch::Tensor rows_of(const torch::Tensor& t, const torch::Tensor& rows_R) { return rows_R.defined() ? t.index_select(0, rows_R) : t; }

}  // namespace mose::nn
