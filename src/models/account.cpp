#include "mose/models/account.h"

#include <algorithm>
#include <cstdio>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::models {
namespace {

int64_t tower_parameters(const vision::Config& c) {
  const int64_t D = c.hidden_size, F = c.intermediate_size;
  const int64_t blocks = c.layers * (4 * D + 3 * D * D + 3 * D + D * D + D + 2 * D * F + F + D);
  const int64_t patches = 3 * D * c.patch_size * c.patch_size + c.grid_height() * c.grid_width() * D;
  if (c.type == "clip") return blocks + patches + D + D + 2 * D;  // class token, its position, norm
  if (c.type == "siglip") return blocks + patches + D;            // bias
  int64_t count = 0, channels = 3, left = c.patch_size;
  if (c.stem == "conv") {
    const auto add = [&](int64_t out, int64_t kernel) {
      count += channels * out * kernel * kernel + out + 2 * out;  // convolution, bias, group norm
      channels = out;
    };
    add(c.stem_width, 4);
    for (left /= 4; left > 1; left /= 2) add(std::min(2 * channels, c.hidden_size), 3);
    add(channels, 3);
  }
  count += channels * c.hidden_size * left * left + c.hidden_size;  // patch embedding
  count += c.patches() * c.hidden_size + 2 * c.hidden_size;         // positions, last norm
  return count + blocks;
}

int64_t router_parameters(const moe::Config& moe, int64_t width, int64_t skills, int64_t stages) {
  if (moe.router == "hierarchical_skill") {
    // A row for each stage, each skill and each expert that is free of skills.
    return (skills + stages + moe.shared_experts) * width;
  }
  return moe.experts * width;
}

}  // namespace

Account account(const Config& config, int64_t skills, int64_t stages) {
  const auto& l = config.language;
  const int64_t D = l.hidden_size, F = l.intermediate_size, d = l.head_width();
  Account a;
  a.vision = tower_parameters(config.vision);
  const int64_t merged = config.vision.hidden_size * config.projector.merge * config.projector.merge;
  const int64_t hidden = config.projector.hidden_size > 0 ? config.projector.hidden_size : D;
  a.projector = merged * hidden + hidden + hidden * D + D;
  if (!config.grid_pinpoints.empty()) a.projector += D;  // the newline
  a.embedding = l.vocab_size * D;
  a.largest = std::max(a.embedding, D * F * (l.wide_layers.empty() ? 1 : l.ffn_copies));
  a.head = l.tie_embeddings ? 0 : l.vocab_size * (D + (l.head_bias ? 1 : 0));
  const int64_t qkv = (l.heads + 2 * l.kv_heads) * d;
  a.attention = l.layers * (qkv * D + (l.qkv_bias ? qkv : 0) + l.heads * d * D + (l.out_bias ? D : 0));
  a.norms = ((l.parallel ? 1 : 2) * l.layers + 1) * D * (l.norm == "layer" ? 2 : 1);
  const auto sparse = l.moe ? moe::sparse_layers(*l.moe, l.layers) : std::vector<int64_t>{};
  const auto sparse_count = static_cast<int64_t>(sparse.size());
  const auto ffn = [&](int64_t width, bool bias) {
    if (l.ffn == "gelu") return 2 * D * width + width + D;
    return 3 * D * width + (bias ? 2 * width + D : 0);
  };
  const auto wide = static_cast<int64_t>(l.wide_layers.size());
  a.dense_ffn = (l.layers - sparse_count - wide) * ffn(F, l.ffn_bias) + wide * ffn(F * l.ffn_copies, l.ffn_bias);
  if (l.moe) {
    const int64_t expert = ffn(l.moe->intermediate > 0 ? l.moe->intermediate : F, false);
    a.experts = sparse_count * l.moe->experts * expert;
    a.activated_experts = sparse_count * l.moe->top_k * expert;
    a.largest_experts = l.moe->experts * D * (l.moe->intermediate > 0 ? l.moe->intermediate : F) * (l.ffn == "gelu" ? 1 : 2);
    a.routers = sparse_count * router_parameters(*l.moe, D, skills, stages);
    if (l.moe->shared_ffn > 0) a.dense_ffn += sparse_count * (3 * D * l.moe->shared_ffn + D);
  }
  if (!config.region_categories.empty()) {
    a.region_head = static_cast<int64_t>(config.region_categories.size()) * (config.vision.hidden_size + 1);
  }
  return a;
}

TrainingMemory training_memory(const Account& a, const TrainingForm& form) {
  if (form.processes % form.expert_parallel != 0) {
    throw UsageError(str("expert_parallel = ", form.expert_parallel, " does not divide ", form.processes, " processes"));
  }
  const bool narrow = form.precision == "bfloat16";
  const double common = static_cast<double>(a.total() - a.experts);
  const double experts = static_cast<double>(a.experts) / static_cast<double>(form.expert_parallel);
  // Two float32 moments a parameter, and a master weight where it is in bfloat16.
  const double state = narrow ? 12 : 8, each = narrow ? 2 : 4;
  const auto holders = static_cast<double>(form.shard_optimizer ? form.processes : 1);
  const auto expert_holders = static_cast<double>(form.shard_optimizer ? form.processes / form.expert_parallel : 1);
  const double largest = std::max(static_cast<double>(a.largest), static_cast<double>(a.largest_experts) / static_cast<double>(form.expert_parallel));
  return {each * (common + experts), each * (common + experts), state * (common / holders + experts / expert_holders),
          form.processes > 1 ? each * largest : 0};
}

Json account_to_json(const Config& config, const Account& a) {
  const double total = static_cast<double>(a.total());
  // Every weight but the embedding table (a look-up) is used once a token; a tied head is that table.
  const int64_t head = config.language.tie_embeddings ? a.embedding : a.head;
  const double token_flops =
      2.0 * static_cast<double>(a.language_activated() - a.embedding - a.head - a.norms + head);
  Json j;
  j["total_parameters"] = a.total();
  j["activated_parameters"] = a.activated();
  j["parts"] = {{"vision", a.vision}, {"projector", a.projector}, {"embedding", a.embedding},
                {"attention", a.attention}, {"norms", a.norms}, {"dense_ffn", a.dense_ffn},
                {"routers", a.routers}, {"experts", a.experts}, {"activated_experts", a.activated_experts},
                {"head", a.head}, {"region_head", a.region_head}};
  j["language_total"] = a.language_total();
  j["language_activated"] = a.language_activated();
  const vision::Tiling tiling = config.tiling();
  j["image_tokens"] = vision::most_rows(tiling);
  j["image_tokens_typical"] = vision::layout_image(kTypicalImage, tiling).rows();
  j["flops_per_token"] = token_flops;
  j["weight_bytes"] = {{"float32", 4.0 * total}, {"bfloat16", 2.0 * total}};
  // Gradient and two moments beside the weight; with bfloat16 weights and gradients, a float32 master copy too.
  j["training_bytes"] = {{"adamw_float32", 16.0 * total}, {"adamw_bfloat16_master", 16.0 * total}};
  return j;
}

std::string account_table(const Config& config, const Account& a) {
  const Json j = account_to_json(config, a);
  std::string out;
  auto row = [&](const std::string& name, int64_t all, int64_t active) {
    char line[160];
    std::snprintf(line, sizeof line, "%-22s %16s %16s\n", name.c_str(), human_count(static_cast<double>(all)).c_str(),
                  human_count(static_cast<double>(active)).c_str());
    out += line;
  };
  char title[160];
  std::snprintf(title, sizeof title, "%-22s %16s %16s\n", "part", "total", "activated");
  out += title;
  row("vision tower", a.vision, a.vision);
  row("projector", a.projector, a.projector);
  row("embedding", a.embedding, a.embedding);
  row("attention", a.attention, a.attention);
  row("norms", a.norms, a.norms);
  row("dense FFN", a.dense_ffn, a.dense_ffn);
  row("routers", a.routers, a.routers);
  row("experts", a.experts, a.activated_experts);
  row("head", a.head, a.head);
  if (a.region_head > 0) row("region head", a.region_head, 0);
  row("language", a.language_total(), a.language_activated());
  row("whole model", a.total(), a.activated());
  const std::string most = str(j["image_tokens"].get<int64_t>());
  out += str("\nrows an image takes: ",
             config.grid_pinpoints.empty()
                 ? most
                 : str("up to ", most, ", ", j["image_tokens_typical"].get<int64_t>(), " at ", kTypicalImage.width, " x ", kTypicalImage.height),
             "; FLOPs a decoder token: ",
             human_count(j["flops_per_token"].get<double>()), "\nweights: ",
             human_bytes(j["weight_bytes"]["float32"].get<double>()), " in float32, ",
             human_bytes(j["weight_bytes"]["bfloat16"].get<double>()), " in bfloat16; AdamW training state with weights: ",
             human_bytes(j["training_bytes"]["adamw_float32"].get<double>()), "\n");
  return out;
}

}  // namespace mose::models
