#include "mose/nn/lora.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/patterns.h"
#include "mose/core/strings.h"

namespace mose::nn {

using torch::Tensor;

double LoraConfig::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilised ? std::sqrt(r) : r);
}

void LoraConfig::visit(FieldVisitor& v) {
  v.field("rank", rank, "rank r of every adapter", 1, 65536);
  v.field("alpha", alpha, "adapters count alpha / rank times", 0, 1e6);
  v.field("dropout", dropout, "share of an adapter's input that is dropped in training", 0, 0.99);
  v.field("rank_stabilised", rank_stabilised, "alpha / sqrt(rank) in place of alpha / rank");
  v.field("targets", targets, "patterns of the layers that get adapters; a later !pattern takes out");
}

Tensor Lora::add(const Tensor& y, const Tensor& x) const {
  const auto type = x.scalar_type();
  const Tensor low = at::linear(dropout > 0 ? at::dropout(x, dropout, true) : x, A.to(type));
  return y + at::linear(low * scale, B.to(type)).to(y.scalar_type());
}

std::vector<Lora> Lora::by_expert() const {
  // unbind, whose backward pass stacks once; the gradient of a slice would fill a whole stack an expert.
  const auto a = A.unbind(0), b = B.unbind(0);
  std::vector<Lora> out;
  for (size_t e = 0; e < a.size(); ++e) out.push_back({a[e], b[e], scale, dropout});
  return out;
}

std::vector<LoraPlace> lora_places(torch::nn::Module& module) {
  std::vector<LoraPlace> out;
  const auto add = [&](const std::string& name, torch::nn::Module& part) {
    auto* takes = dynamic_cast<TakesLora*>(&part);
    if (!takes) return;
    for (auto& place : takes->lora_places()) {
      const char* dot = name.empty() || place.name.empty() ? "" : ".";
      out.push_back({name + dot + place.name, place.weight, place.adapter});
    }
  };
  add("", module);
  for (const auto& item : module.named_modules("", /*include_self=*/false)) add(item.key(), *item.value());
  return out;
}

std::vector<LoraPlace> lora_places(torch::nn::Module& module, const std::vector<std::string>& targets) {
  const auto all = lora_places(module);
  for (const auto& target : targets) {
    const std::string pattern = target.starts_with('!') ? target.substr(1) : target;
    const auto fits = [&](const LoraPlace& place) { return matches(place.name, pattern); };
    if (target == pattern && std::none_of(all.begin(), all.end(), fits)) {
      throw UsageError(str("lora.targets: \"", target, "\" matches no linear layer of this model; the first of its ", all.size(), " is ",
                           all.empty() ? "none" : all.front().name, ", the last ", all.empty() ? "none" : all.back().name));
    }
  }
  std::vector<LoraPlace> out;
  for (const auto& place : all) {
    if (chosen(place.name, targets)) out.push_back(place);
  }
  if (out.empty()) throw UsageError(str("lora.targets: ", join(targets, ", "), " leave no linear layer to adapt"));
  return out;
}

bool learns(torch::nn::Module& module) {
  const auto parameters = module.parameters();
  const auto places = lora_places(module);
  return std::any_of(parameters.begin(), parameters.end(), [](const Tensor& p) { return p.requires_grad(); }) ||
         std::any_of(places.begin(), places.end(), [](const LoraPlace& p) { return *p.adapter && (*p.adapter)->A.requires_grad(); });
}

int64_t lora_parameters(const LoraPlace& place, int64_t rank) {
  const auto& w = place.weight;
  return (w.dim() == 3 ? w.size(0) : 1) * rank * (w.size(-1) + w.size(-2));
}

Adapters attach_lora(torch::nn::Module& module, const LoraConfig& config, uint64_t seed) {
  Adapters out;
  torch::manual_seed(seed);
  for (auto& place : lora_places(module, config.targets)) {
    const auto& w = place.weight;
    auto a = w.sizes().vec(), b = w.sizes().vec();
    a[a.size() - 2] = b.back() = config.rank;
    const auto type = w.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
    const double bound = 1 / std::sqrt(static_cast<double>(w.size(-1)));
    auto lora = std::make_shared<Lora>();
    // Drawn on the CPU, so that a seed means the same on every device.
    lora->A = torch::empty(a, type).uniform_(-bound, bound).to(w.device()).requires_grad_();
    lora->B = torch::zeros(b, w.options().dtype(type).requires_grad(false)).requires_grad_();
    lora->scale = config.scale();
    out[place.name] = *place.adapter = std::move(lora);
  }
  return out;
}

void attach_lora(torch::nn::Module& module, const Adapters& adapters) {
  for (auto& place : lora_places(module)) {
    const auto found = adapters.find(place.name);
    *place.adapter = found == adapters.end() ? nullptr : found->second;
  }
}

void set_dropout(const Adapters& adapters, double share) {
  for (const auto& [name, lora] : adapters) lora->dropout = share;
}

void merge_lora(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& place : lora_places(module)) {
    if (!*place.adapter) continue;
    const auto& lora = **place.adapter;
    const bool stacked = place.weight.dim() == 3;
    for (int64_t e = 0; e < (stacked ? place.weight.size(0) : 1); ++e) {
      Tensor w = stacked ? place.weight[e] : place.weight;
      const Tensor delta = at::mm(stacked ? lora.B[e] : lora.B, stacked ? lora.A[e] : lora.A) * lora.scale;
      w.copy_(w.to(delta.scalar_type()) + delta);
    }
    place.adapter->reset();
  }
}

}  // namespace mose::nn
