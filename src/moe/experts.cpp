#include <ATen/autocast_mode.h>

#include <cmath>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/layer.h"
#include "mose/nn/init.h"
#include "moe/expert_parts.h"
#include "moe/swiglu.h"

namespace mose::moe {
namespace {

class SwigluExperts : public Experts {
 public:
  SwigluExperts(int64_t experts, int64_t width, int64_t intermediate) {
    const double in = 1.0 / std::sqrt(static_cast<double>(width));
    const double hidden = 1.0 / std::sqrt(static_cast<double>(intermediate));
    gate_up_ = register_parameter("gate_up_proj",
                                  nn::uniform({experts, 2 * intermediate, width}, in));
    down_ = register_parameter("down_proj",
                               nn::uniform({experts, width, intermediate}, hidden));
  }

  torch::Tensor forward(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E) override {
    check_rows(rows_RD, counts_E, gate_up_.size(0), gate_up_.size(2));
    const auto device = rows_RD.device().type();
    const auto type = at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device)
                                                                : gate_up_.scalar_type();
    const torch::Tensor rows = rows_RD.to(type), gate_up = gate_up_.to(type), down = down_.to(type);
    return stacked_swiglu(rows, gate_up, down, counts_E, choose_product(rows, down.size(2))).to(rows_RD.scalar_type());
  }

 private:
  torch::Tensor gate_up_, down_;
};

}  // namespace

void check_rows(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E, int64_t experts, int64_t width) {
  if (rows_RD.dim() != 2 || rows_RD.size(1) != width) {
    throw Error(mose::str("moe experts: rows have shape ", rows_RD.sizes(), ": expected [rows, ", width, "]"));
  }
  const int64_t total = std::accumulate(counts_E.begin(), counts_E.end(), int64_t{0});
  if (static_cast<int64_t>(counts_E.size()) != experts || total != rows_RD.size(0)) {
    throw Error(mose::str("moe experts: ", counts_E.size(), " counts that sum to ", total, " for ", experts,
                          " experts and ", rows_RD.size(0), " rows"));
  }
}

std::shared_ptr<Experts> make_experts(int64_t experts, int64_t width, int64_t intermediate, ExpertForm form) {
  if (experts < 1 || width < 1 || intermediate < 1) {
    throw UsageError(mose::str("moe: ", experts, " experts of width ", width, " and intermediate width ", intermediate,
                         ": expected at least 1 of each"));
  }
  if (form == ExpertForm::kGelu) return make_gelu_experts(experts, width, intermediate);
  return std::make_shared<SwigluExperts>(experts, width, intermediate);
}

}  // namespace mose::moe
