// What the forms of experts share.
#pragma once

#include <memory>
#include <vector>

#include "mose/moe/layer.h"

namespace mose::moe {

// Error unless the rows are [sum of counts_E, width] and there is one count an expert.
void check_rows(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E, int64_t experts, int64_t width);

std::shared_ptr<Experts> make_gelu_experts(int64_t experts, int64_t width, int64_t intermediate);

}  // namespace mose::moe
