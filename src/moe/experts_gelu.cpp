// Experts of two matrices with biases, as Phi's FFN. A plain loop over the experts: such models are loaded
// and compared with, not what mose is built around.
#include <cmath>

#include "mose/nn/init.h"
#include "mose/nn/lora.h"
#include "moe/expert_parts.h"

namespace mose::moe {
namespace {

class GeluExperts : public Experts, public nn::TakesLora {
 public:
  GeluExperts(int64_t experts, int64_t width, int64_t intermediate) {
    const double in = 1.0 / std::sqrt(static_cast<double>(width));
    const double hidden = 1.0 / std::sqrt(static_cast<double>(intermediate));
    auto fc1 = register_module("fc1", std::make_shared<torch::nn::Module>());
    auto fc2 = register_module("fc2", std::make_shared<torch::nn::Module>());
    weight_1_ = fc1->register_parameter("weight", nn::uniform({experts, intermediate, width}, in));
    bias_1_ = fc1->register_parameter("bias", nn::constant({experts, intermediate}, 0));
    weight_2_ = fc2->register_parameter("weight", nn::uniform({experts, width, intermediate}, hidden));
    bias_2_ = fc2->register_parameter("bias", nn::constant({experts, width}, 0));
  }

  torch::Tensor forward(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E) override {
    check_rows(rows_RD, counts_E, weight_1_.size(0), weight_1_.size(2));
    const auto rows = rows_RD.split_with_sizes(counts_E);
    const auto lora_1 = lora_1_ ? lora_1_->by_expert() : std::vector<nn::Lora>{};
    const auto lora_2 = lora_2_ ? lora_2_->by_expert() : std::vector<nn::Lora>{};
    std::vector<torch::Tensor> out;
    for (size_t e = 0; e < rows.size(); ++e) {
      if (counts_E[e] == 0) continue;
      const auto i = static_cast<int64_t>(e);
      auto pre = at::linear(rows[e], weight_1_[i], bias_1_[i]);
      if (lora_1_) pre = lora_1[e].add(pre, rows[e]);
      const auto hidden = nn::activate(pre, nn::Activation::kGeluTanh);
      const auto y = at::linear(hidden, weight_2_[i], bias_2_[i]);
      out.push_back(lora_2_ ? lora_2[e].add(y, hidden) : y);
    }
    return out.empty() ? rows_RD : torch::cat(out, 0).to(rows_RD.scalar_type());
  }

  std::vector<nn::LoraPlace> lora_places() override {
    return {{"fc1", weight_1_, &lora_1_}, {"fc2", weight_2_, &lora_2_}};
  }

 private:
  torch::Tensor weight_1_, bias_1_, weight_2_, bias_2_;
  std::shared_ptr<nn::Lora> lora_1_, lora_2_;
};

}  // namespace

std::shared_ptr<Experts> make_gelu_experts(int64_t experts, int64_t width, int64_t intermediate) {
  return std::make_shared<GeluExperts>(experts, width, intermediate);
}

}  // namespace mose::moe
