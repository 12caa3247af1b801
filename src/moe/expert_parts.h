// What the forms of experts share.
#pragma once

#include <memory>
#include <vector>

#include "mose/moe/layer.h"

namespace mose::moe {

// Error unless the rows are [sum of counts_E, width] and there is one count an expert.
void check_rows(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E, int64_t experts, int64_t width);

// Experts whose products are one call for all of them and take the counts from the device, so that the host need not wait.
class ExpertsOnDevice {
 public:
  virtual ~ExpertsOnDevice() = default;
  virtual bool serve(const torch::Tensor& x_TD) const = 0;  // rows of this device, type and width
  // As Experts::forward; ends_E int32 on the device of the rows.
  virtual torch::Tensor forward_on_device(const torch::Tensor& rows_RD, const torch::Tensor& ends_E) = 0;
  // The layer's output of a few tokens from the choices themselves, without gradient; undefined where that is not served.
  virtual torch::Tensor forward_few(const torch::Tensor& x_TD, const torch::Tensor& experts_TK, const torch::Tensor& weights_TK) = 0;
};

std::shared_ptr<Experts> make_gelu_experts(int64_t experts, int64_t width, int64_t intermediate);

}  // namespace mose::moe
