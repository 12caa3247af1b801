#include <ATen/autocast_mode.h>

#include <cmath>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/layer.h"
#include "mose/nn/init.h"
#include "mose/nn/int8.h"
#include "mose/nn/lora.h"
#include "moe/expert_parts.h"
#include "moe/swiglu.h"

namespace mose::moe {
namespace {

class SwigluExperts : public Experts, public ExpertsOnDevice, public nn::TakesLora {
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
    check_rows(rows_RD, counts_E, gate_up_.size(0), nn::columns(gate_up_));
    if (nn::is_packed(gate_up_)) return stacked_swiglu_int8(rows_RD, gate_up_, down_, counts_E);
    const auto type = product_type(rows_RD);
    const torch::Tensor rows = rows_RD.to(type), gate_up = gate_up_.to(type), down = down_.to(type);
    if (gate_up_lora_ || down_lora_) return adapted(rows, gate_up, down, counts_E).to(rows_RD.scalar_type());
    return stacked_swiglu(rows, gate_up, down, counts_E, choose_product(rows, type, down.size(2))).to(rows_RD.scalar_type());
  }

  bool serve(const torch::Tensor& x_TD) const override {
    return !nn::is_packed(gate_up_) && !gate_up_lora_ && !down_lora_ &&
           choose_product(x_TD, product_type(x_TD), down_.size(2)) == GroupedProduct::kGrouped;
  }
  torch::Tensor forward_on_device(const torch::Tensor& rows_RD, const torch::Tensor& ends_E) override {
    const auto type = product_type(rows_RD);
    return grouped_swiglu(rows_RD.to(type), gate_up_.to(type), down_.to(type), ends_E).to(rows_RD.scalar_type());
  }

  torch::Tensor forward_few(const torch::Tensor& x_TD, const torch::Tensor& experts_TK, const torch::Tensor& weights_TK) override {
    if (nn::is_packed(gate_up_) || gate_up_lora_ || down_lora_ || product_type(x_TD) != x_TD.scalar_type()) return {};
    return few_rows_swiglu(x_TD, gate_up_, down_, experts_TK, weights_TK);
  }

  std::vector<nn::LoraPlace> lora_places() override {
    return {{"gate_up_proj", gate_up_, &gate_up_lora_}, {"down_proj", down_, &down_lora_}};
  }

 private:
  torch::Dtype product_type(const torch::Tensor& rows_RD) const {
    const auto device = rows_RD.device().type();
    return at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device) : gate_up_.scalar_type();
  }

  // Expert by expert, each product with its adapter's.
  torch::Tensor adapted(const torch::Tensor& rows_RD, const torch::Tensor& gate_up, const torch::Tensor& down,
                        const std::vector<int64_t>& counts_E) const {
    const auto rows = rows_RD.split_with_sizes(counts_E), in = gate_up.unbind(0), out = down.unbind(0);
    const auto in_lora = gate_up_lora_ ? gate_up_lora_->by_expert() : std::vector<nn::Lora>{};
    const auto out_lora = down_lora_ ? down_lora_->by_expert() : std::vector<nn::Lora>{};
    std::vector<torch::Tensor> parts;
    for (size_t e = 0; e < rows.size(); ++e) {
      if (counts_E[e] == 0) continue;
      torch::Tensor pre = at::mm(rows[e], in[e].t());
      if (gate_up_lora_) pre = in_lora[e].add(pre, rows[e]);
      const auto gate_and_up = pre.chunk(2, 1);
      const torch::Tensor hidden = at::silu(gate_and_up[0]) * gate_and_up[1];
      torch::Tensor y = at::mm(hidden, out[e].t());
      if (down_lora_) y = out_lora[e].add(y, hidden);
      parts.push_back(y);
    }
    return parts.empty() ? rows_RD : torch::cat(parts);
  }

  torch::Tensor gate_up_, down_;
  std::shared_ptr<nn::Lora> gate_up_lora_, down_lora_;
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
