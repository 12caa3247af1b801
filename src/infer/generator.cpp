#include "mose/infer/generator.h"

#include <torch/torch.h>

#include "infer/sampling.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/infer/continuous.h"

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

// The whole sequence again for every token.
Generation recompute(models::VisionLanguageModel& model, const Prompt& prompt, size_t index, const GenerateOptions& options) {
  if (prompt.tokens.empty()) throw Error(str("generate: prompt ", index, " is empty"));
  const auto device = model.device();
  auto stream = sampling_stream(options.sampling, index);
  std::vector<Tensor> images;
  for (const auto& picture : prompt.pictures) {
    images.push_back(model.encode_images(picture.tiles_NCHW.to(device), {picture.layout}).rows_RD);
  }
  Generation out;
  auto tokens = prompt.tokens;
  while (static_cast<int64_t>(out.tokens.size()) < options.sampling.max_new_tokens) {
    const auto rows = static_cast<int64_t>(tokens.size());
    const auto result = model.forward(torch::tensor(tokens, torch::kInt64).to(device), nn::make_plan({rows}, device),
                                      images.empty() ? Tensor() : torch::cat(images));
    const int64_t token = choose_tokens(text_logits(model, result.hidden_TD.narrow(0, rows - 1, 1)), options.sampling, {&stream})[0];
    out.finished = token == options.end_token;
    if (out.finished) break;
    out.tokens.push_back(token);
    tokens.push_back(token);
    if (options.on_token) options.on_token(index, token);
  }
  return out;
}

}  // namespace

std::vector<Generation> generate(models::VisionLanguageModel& model, const std::vector<Prompt>& prompts,
                                 const GenerateOptions& options) {
  if (options.routing && !options.cache) throw Error("generate: routing is recorded with the cache only");
  std::vector<Generation> out;
  if (!options.cache) {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < prompts.size(); ++i) out.push_back(recompute(model, prompts[i], i, options));
    return out;
  }
  if (prompts.empty()) return out;
  out.resize(prompts.size());
  size_t next = 0;
  const auto ask = [&]() -> std::optional<Request> {
    if (next == prompts.size()) return std::nullopt;
    const size_t index = next++;
    return Request{index, prompts[index], {}};
  };
  answer_all(model, static_cast<int64_t>(prompts.size()), options, ask,
             [&](Answer answer) { out[answer.index] = std::move(answer.generation); });
  return out;
}

}  // namespace mose::infer
