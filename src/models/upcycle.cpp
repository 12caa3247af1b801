#include "mose/models/upcycle.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::models {
namespace {

using torch::Tensor;
using Parameters = torch::OrderedDict<std::string, Tensor>;

std::string ffn_prefix(int64_t layer) { return str("model.language_model.layers.", layer, ".mlp."); }

void require_dense(const VisionLanguageModel& model, const char* what) {
  if (model.sparse()) throw UsageError(str(what, ": expected a dense model, found one with sparse layers"));
}

// Copies every parameter that both models have with the same shape.
void copy_shared(const Parameters& from, Parameters& to) {
  for (auto& item : to) {
    const Tensor* source = from.find(item.key());
    if (source && source->sizes() == item.value().sizes()) item.value().copy_(*source);
  }
}

struct Ffn {
  Tensor gate, up, down;  // [F, D], [F, D], [D, F]
};

Ffn dense_ffn(const Parameters& parameters, int64_t layer) {
  const std::string prefix = ffn_prefix(layer);
  return {parameters[prefix + "gate_proj.weight"], parameters[prefix + "up_proj.weight"],
          parameters[prefix + "down_proj.weight"]};
}

}  // namespace

std::shared_ptr<VisionLanguageModel> upcycle(const VisionLanguageModel& dense, const moe::Config& moe,
                                             const skills::Taxonomy& taxonomy,
                                             const std::vector<double>& skill_mass, uint64_t seed) {
  require_dense(dense, "upcycling");
  const int64_t width = dense.config().language.intermediate_size;
  if (moe.intermediate != 0 && moe.intermediate != width) {
    throw UsageError(str("moe.intermediate = ", moe.intermediate,
                         ": upcycling copies the dense FFN, so expected 0 or its width ", width));
  }
  if (dense.config().language.ffn_copies != 1) {
    throw UsageError("upcycling: the model has been widened (ffn_copies > 1); upcycle the one it came from");
  }
  if (moe.shared_ffn > 0) throw UsageError("upcycling: moe.shared_ffn would add what the dense model does not compute; expected 0");
  if (dense.config().language.ffn_bias) throw UsageError("upcycling: experts have no biases, but this model's FFNs do (language.ffn_bias)");
  Config config = dense.config();
  config.language.moe = moe;
  auto sparse = make_model(config, seed, &taxonomy, skill_mass);
  const torch::NoGradGuard no_grad;
  const auto from = dense.named_parameters();
  auto to = sparse->named_parameters();
  copy_shared(from, to);
  for (const int64_t layer : moe::sparse_layers(moe, config.language.layers)) {
    const std::string prefix = ffn_prefix(layer) + "experts.";
    if (config.language.ffn == "gelu") {
      for (const char* part : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}) {
        to[prefix + part].copy_(from[ffn_prefix(layer) + part].unsqueeze(0).expand_as(to[prefix + part]));
      }
      continue;
    }
    const Ffn ffn = dense_ffn(from, layer);
    to[prefix + "gate_up_proj"].copy_(torch::cat({ffn.gate, ffn.up}, 0).unsqueeze(0).expand_as(to[prefix + "gate_up_proj"]));
    to[prefix + "down_proj"].copy_(ffn.down.unsqueeze(0).expand_as(to[prefix + "down_proj"]));
  }
  return sparse;
}

std::shared_ptr<VisionLanguageModel> widen(const VisionLanguageModel& dense, const moe::Config& moe,
                                           uint64_t seed) {
  require_dense(dense, "widening");
  if (dense.config().language.ffn != "swiglu" || dense.config().language.ffn_bias) {
    throw UsageError("widening: expected swiglu FFNs without biases");
  }
  Config config = dense.config();
  config.language.ffn_copies = moe.top_k;
  config.language.wide_layers = moe::sparse_layers(moe, config.language.layers);
  auto wide = make_model(config, seed);
  const torch::NoGradGuard no_grad;
  const auto from = dense.named_parameters();
  auto to = wide->named_parameters();
  copy_shared(from, to);
  for (const int64_t layer : config.language.wide_layers) {
    const Ffn ffn = dense_ffn(from, layer);
    const int64_t copies = moe.top_k, width = ffn.gate.size(0);
    // Shares in [1/2, 3/2] of the mean before they are scaled to sum to 1.
    auto shares_CF = torch::rand({copies, width}) + 0.5;
    shares_CF = shares_CF / shares_CF.sum(0, true);
    std::vector<Tensor> down;
    for (int64_t c = 0; c < copies; ++c) down.push_back(ffn.down * shares_CF[c].unsqueeze(0));
    const std::string prefix = ffn_prefix(layer);
    to[prefix + "gate_proj.weight"].copy_(ffn.gate.repeat({copies, 1}));
    to[prefix + "up_proj.weight"].copy_(ffn.up.repeat({copies, 1}));
    to[prefix + "down_proj.weight"].copy_(torch::cat(down, 1));
  }
  return wide;
}

}  // namespace mose::models
