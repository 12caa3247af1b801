#include "mose/models/upcycle.h"

#include "models/upcycling.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/models/bundle.h"

namespace mose::models {
using torch::Tensor;
void check_upcycling(const language::Config& dense, const moe::Config& moe) {
  if (dense.moe) throw UsageError("upcycling: expected a dense model, found one with sparse layers");
  const int64_t width = dense.intermediate_size;
  if (moe.intermediate != 0 && moe.intermediate != width) {
    throw UsageError(str("moe.intermediate = ", moe.intermediate,
                         ": upcycling copies the dense FFN, so expected 0 or its width ", width));
  }
  if (dense.ffn_copies != 1) {
    throw UsageError("upcycling: the model has been widened (ffn_copies > 1); upcycle the one it came from");
  }
  if (moe.shared_ffn > 0) throw UsageError("upcycling: moe.shared_ffn would add what the dense model does not compute; expected 0");
  if (dense.ffn_bias) throw UsageError("upcycling: experts have no biases, but this model's FFNs do (language.ffn_bias)");
}

std::string copied_by_expert(const std::string& name) {
  const std::string experts = ".mlp.experts.";
  const size_t at = name.find(experts);
  if (at == std::string::npos) return {};
  return name.substr(0, at) + ".mlp" + name.substr(name.find('.', at + experts.size()));
}

Config upcycled(Config dense, const moe::Config& moe) {
  dense.language.moe = moe;
  return dense;
}

Config widened(Config dense, const moe::Config& moe) {
  dense.language.ffn_copies = moe.top_k;
  dense.language.wide_layers = moe::sparse_layers(moe, dense.language.layers);
  return dense;
}

std::shared_ptr<VisionLanguageModel> upcycle(const VisionLanguageModel& dense, const moe::Config& moe,
                                             const skills::Taxonomy& taxonomy,
                                             const std::vector<double>& skill_mass, uint64_t seed) {
  check_upcycling(dense.config().language, moe);
  auto sparse = make_model(upcycled(dense.config(), moe), seed, &taxonomy, skill_mass);
  const torch::NoGradGuard no_grad;
  const auto from = weights_for_file(dense);
  for (const auto& [name, target] : weights_for_file(*sparse)) {  // views of the parameters
    const std::string source = copied_by_expert(name);
    if (const auto found = from.find(source.empty() ? name : source); found != from.end()) Tensor(target).copy_(found->second);
  }
  return sparse;
}

std::shared_ptr<VisionLanguageModel> widen(const VisionLanguageModel& dense, const moe::Config& moe,
                                           uint64_t seed) {
  if (dense.sparse()) throw UsageError("widening: expected a dense model, found one with sparse layers");
  if (dense.config().language.ffn != "swiglu" || dense.config().language.ffn_bias) {
    throw UsageError("widening: expected swiglu FFNs without biases");
  }
  const Config config = widened(dense.config(), moe);
  auto wide = make_model(config, seed);
  const torch::NoGradGuard no_grad;
  const auto from = dense.named_parameters();
  auto to = wide->named_parameters();
  for (auto& item : to) {
    const Tensor* source = from.find(item.key());
    if (source && source->sizes() == item.value().sizes()) item.value().copy_(*source);
  }
  for (const int64_t layer : config.language.wide_layers) {
    const std::string prefix = str("model.language_model.layers.", layer, ".mlp.");
    for (const char* part : {"gate_proj.weight", "up_proj.weight"}) {  // [F, D]; the rows after these stay as drawn
      const Tensor& trained_FD = from[prefix + part];
      to[prefix + part].narrow(0, 0, trained_FD.size(0)).copy_(trained_FD);
    }
    const Tensor& trained_DF = from[prefix + "down_proj.weight"];
    auto down = to[prefix + "down_proj.weight"].zero_();
    down.narrow(1, 0, trained_DF.size(1)).copy_(trained_DF);
  }
  return wide;
}

}  // namespace mose::models
