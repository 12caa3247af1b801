#include "mose/infer/generator.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose::infer {

using torch::Tensor;

void SamplingConfig::visit(FieldVisitor& v) {
  v.field("max_new_tokens", max_new_tokens, "longest answer", 1, 1e6);
  v.field("temperature", temperature, "0 = greedy", 0, 100);
  v.field("top_k", top_k, "sample among the k most probable tokens; 0 = all", 0, 1e7);
  v.field("top_p", top_p, "sample among the most probable tokens that hold this mass", 0, 1);
  v.field("seed", seed, "seed of sampling", 0, 9e15);
}

namespace {

// One draw from softmax(logits / temperature), cut to the top_k and then to the top_p mass.
int64_t sample(const float* logits, int64_t size, const SamplingConfig& config, RandomStream& stream) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  if (config.top_k > 0 && config.top_k < size) order.resize(static_cast<size_t>(config.top_k));
  std::vector<double> weights;
  double sum = 0;
  for (const int64_t id : order) {
    weights.push_back(std::exp((logits[id] - logits[order[0]]) / config.temperature));
    sum += weights.back();
  }
  double mass = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    mass += weights[i] / sum;
    if (mass >= config.top_p) {
      weights.resize(i + 1);
      break;
    }
  }
  return order[stream.weighted(weights)];
}

// Stages of generation share this: which prompts still run, in the order of the cache's sequences.
struct Running {
  std::vector<size_t> prompts;
  std::vector<int64_t> next;  // the token each one continues with
};

void record_routing(const std::vector<language::LayerRouting>& routings, const Running& running,
                    std::vector<Generation>& out) {
  std::vector<Tensor> experts, skills;
  for (const auto& layer : routings) {
    experts.push_back(layer.routing.experts_TK.select(1, 0).to(torch::kCPU));
    skills.push_back(layer.routing.skill_logits_TS ? layer.routing.skill_logits_TS->argmax(1).to(torch::kCPU) : Tensor());
  }
  for (size_t n = 0; n < running.prompts.size(); ++n) {
    TokenRouting token;
    for (size_t i = 0; i < experts.size(); ++i) {
      const auto row = static_cast<int64_t>(n);
      token.top_expert.push_back(experts[i][row].item<int64_t>());
      token.skill.push_back(skills[i].defined() ? skills[i][row].item<int64_t>() : -1);
    }
    out[running.prompts[n]].routing.push_back(std::move(token));
  }
}

}  // namespace

std::vector<Generation> generate(models::VisionLanguageModel& model, const std::vector<Prompt>& prompts,
                                 const GenerateOptions& options) {
  if (options.routing && !options.cache) throw Error("generate: routing is recorded with the cache only");
  const torch::NoGradGuard no_grad;
  const auto device = model.device();
  const auto& sampling = options.sampling;
  std::vector<Generation> out(prompts.size());
  if (prompts.empty()) return out;

  std::vector<RandomStream> streams;
  std::vector<Tensor> tiles;
  std::vector<vision::ImageLayout> layouts;
  std::vector<int64_t> image_rows;  // of each prompt
  int64_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].tokens.empty()) throw Error(str("generate: prompt ", i, " is empty"));
    longest = std::max(longest, static_cast<int64_t>(prompts[i].tokens.size()));
    streams.emplace_back(static_cast<uint64_t>(sampling.seed), "sample/" + std::to_string(i));
    image_rows.push_back(0);
    for (const auto& picture : prompts[i].pictures) {
      tiles.push_back(picture.tiles_NCHW);
      layouts.push_back(picture.layout);
      image_rows.back() += picture.layout.rows();
    }
  }
  std::vector<Tensor> images(prompts.size());  // [rows, D] of each prompt
  if (!tiles.empty()) {
    images = model.encode_images(torch::cat(tiles).to(device), layouts).rows_RD.split_with_sizes(image_rows);
  }

  Running running;
  for (size_t i = 0; i < prompts.size(); ++i) running.prompts.push_back(i);
  auto cache = language::make_cache(model.config().language, static_cast<int64_t>(prompts.size()),
                                    longest + sampling.max_new_tokens, torch::dtype(model.type()).device(device));
  // An answer is text: the token that stands for an image row is never chosen.
  const int64_t image_token = model.config().image_token_id;
  auto text_logits = [&](const Tensor& hidden_ND) {
    auto logits = model.logits(hidden_ND);
    if (image_token >= 0 && image_token < logits.size(1)) logits.select(1, image_token).fill_(-std::numeric_limits<float>::infinity());
    return logits;
  };
  // The prompts as one packed stream (or, without the cache, prompts and answers so far).
  auto whole_pass = [&](bool with_cache) {
    std::vector<int64_t> tokens, lengths;
    std::vector<Tensor> chosen;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const bool runs = std::find(running.prompts.begin(), running.prompts.end(), i) != running.prompts.end();
      if (runs) {
        tokens.insert(tokens.end(), prompts[i].tokens.begin(), prompts[i].tokens.end());
        if (!with_cache) tokens.insert(tokens.end(), out[i].tokens.begin(), out[i].tokens.end());
        lengths.push_back(static_cast<int64_t>(prompts[i].tokens.size() + (with_cache ? 0 : out[i].tokens.size())));
        if (image_rows[i] > 0) chosen.push_back(images[i]);
      }
    }
    language::ForwardOptions forward;
    if (with_cache) forward.cache = &cache;
    const auto plan = nn::make_plan(lengths, device);
    const auto result = model.forward(torch::tensor(tokens, torch::kInt64).to(device), plan,
                                      chosen.empty() ? Tensor() : torch::cat(chosen), forward);
    std::vector<int64_t> last;
    for (size_t n = 1; n < plan.offsets.size(); ++n) last.push_back(plan.offsets[n] - 1);
    return text_logits(result.hidden_TD.index_select(0, torch::tensor(last, torch::kInt64).to(device)));
  };

  Tensor logits_NV = whole_pass(options.cache);
  for (int64_t step = 0; step < sampling.max_new_tokens; ++step) {
    const auto host = sampling.temperature > 0 ? logits_NV.to(torch::kCPU, torch::kFloat32).contiguous()
                                               : logits_NV.argmax(1).to(torch::kCPU);
    std::vector<int64_t> keep;
    Running next;
    for (size_t n = 0; n < running.prompts.size(); ++n) {
      const size_t i = running.prompts[n];
      const auto row = static_cast<int64_t>(n);
      const int64_t token = sampling.temperature > 0
                                ? sample(host[row].data_ptr<float>(), host.size(1), sampling, streams[i])
                                : host[row].item<int64_t>();
      if (token == options.end_token) {
        out[i].finished = true;
        continue;
      }
      out[i].tokens.push_back(token);
      if (options.on_token) options.on_token(i, token);
      keep.push_back(row);
      next.prompts.push_back(i);
      next.next.push_back(token);
    }
    const bool some_ended = next.prompts.size() != running.prompts.size();
    running = std::move(next);
    if (running.prompts.empty() || step + 1 == sampling.max_new_tokens) break;
    if (!options.cache) {
      logits_NV = whole_pass(false);
      continue;
    }
    if (some_ended) cache.select(keep);
    const auto plan = nn::make_plan(std::vector<int64_t>(running.prompts.size(), 1), device, cache.lengths());
    language::ForwardOptions forward;
    forward.cache = &cache;
    const auto result = model.forward(torch::tensor(running.next, torch::kInt64).to(device), plan, {}, forward);
    if (options.routing) record_routing(result.routings, running, out);
    logits_NV = text_logits(result.hidden_TD);
  }
  return out;
}

}  // namespace mose::infer
