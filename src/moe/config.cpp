#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/layer.h"

namespace mose::moe {

void Config::visit(FieldVisitor& v) {
  v.field("experts", experts, "experts of a sparse layer, E", 1, 4096);
  v.field("top_k", top_k, "experts a token uses, K", 1, 4096);
  v.field("intermediate", intermediate, "width of one expert, F; 0 takes the dense FFN's", 0, 1 << 20);
  v.field("placement", placement, "which decoder layers are sparse; alternate is 0, 2, 4, ...",
          {"alternate", "all", "first_half", "second_half", "listed"});
  v.field("layers", layers, "indices of the sparse layers, with placement listed");
  v.field("router", router, "how experts are chosen", router_names());
  v.field("supervise", supervise,
          "levels that teach the router: skill (both), stage, or split (lower half of the sparse "
          "layers by stage, upper half by both)",
          {"skill", "stage", "split"});
  v.field("assignment", assignment, "which experts serve which skill",
          {"identity", "by_stage", "table", "auto"});
  v.field("table", table, "with assignment table: skill name -> list of experts");
  v.field("shared_experts", shared_experts, "experts kept free of any skill (the last ones)", 0, 4096);
  v.field("normalise_top_k", normalise_top_k, "divide the chosen experts' weights by their sum");
  v.field("shared_ffn", shared_ffn, "width of an FFN that every token takes beside its experts; 0 = none", 0, 1 << 20);
  v.field("capacity_factor", capacity_factor, "deepspeed095: an expert serves 2 * this * rows / experts rows", 0, 1e6);
  v.field("min_capacity", min_capacity, "deepspeed095: but at least this many", 0, 1e9);
  v.field("gate_noise", gate_noise, "deepspeed095: choose the second expert by noisy logits, as its models were run");
  v.field("gate_seed", gate_seed, "deepspeed095: seed of that noise", 0, 1e15);
}

void check_config(const Config& config) {
  if (config.experts < 1) throw UsageError(str("moe: experts = ", config.experts, ": expected at least 1"));
  if (config.top_k < 1 || config.top_k > config.experts) {
    throw UsageError(str("moe: top_k = ", config.top_k, ": expected 1 to experts = ", config.experts));
  }
  if (config.shared_experts < 0 || config.shared_experts >= config.experts) {
    throw UsageError(str("moe: shared_experts = ", config.shared_experts,
                         ": expected 0 to experts - 1 = ", config.experts - 1,
                         ", so that an expert is left for the skills"));
  }
  if (config.router == "deepspeed095" && (config.top_k != 2 || !config.normalise_top_k)) {
    throw UsageError(str("moe: router = \"deepspeed095\" is a top-2 gate with normalised weights: expected top_k = 2, found ",
                         config.top_k, ", and normalise_top_k"));
  }
  if (config.router == "skill" && config.supervise != "skill") {
    throw UsageError(str("moe: supervise = \"", config.supervise, "\" needs a router with stage logits ",
                         "(hierarchical_skill), but router = \"skill\""));
  }
}

std::vector<int64_t> sparse_layers(const Config& config, int64_t layers) {
  std::vector<int64_t> out;
  if (config.placement == "listed") {
    for (size_t i = 0; i < config.layers.size(); ++i) {
      const int64_t layer = config.layers[i];
      if (layer < 0 || layer >= layers) {
        throw UsageError(str("moe: layers[", i, "] = ", layer, ": the decoder has layers 0 to ", layers - 1));
      }
      out.push_back(layer);
    }
    std::sort(out.begin(), out.end());
    const auto twice = std::adjacent_find(out.begin(), out.end());
    if (twice != out.end()) throw UsageError(str("moe: layers names layer ", *twice, " twice"));
    return out;
  }
  if (config.placement != "alternate" && config.placement != "all" && config.placement != "first_half" &&
      config.placement != "second_half") {
    throw UsageError(str("moe: placement = \"", config.placement,
                         "\": expected alternate, all, first_half, second_half or listed"));
  }
  const int64_t begin = config.placement == "second_half" ? layers / 2 : 0;
  const int64_t end = config.placement == "first_half" ? layers / 2 : layers;
  const int64_t step = config.placement == "alternate" ? 2 : 1;
  for (int64_t i = begin; i < end; i += step) out.push_back(i);
  return out;
}

Supervision supervision(const Config& config, int64_t index, int64_t count) {
  if (config.supervise == "skill") return {true, true};
  if (config.supervise == "stage") return {true, false};
  if (config.supervise == "split") return {true, index >= count / 2};
  throw UsageError(str("moe: supervise = \"", config.supervise, "\": expected skill, stage or split"));
}

}  // namespace mose::moe
