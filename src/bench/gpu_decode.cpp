// Greedy decoding of one sequence at GPU shape R against transformers' generate.
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/infer/generator.h"

namespace mose::bench {
namespace {

// By how much of the largest logit a chosen token may be behind float64's best: 8 of bfloat16's units. Where two experts are all but
// equally probable, rounding sends a row to the other one, so a few tokens may be further behind.
constexpr double kBehind = 8.0 / 256;

struct Form {
  std::string experts;
  bool compiled;
  std::string name() const { return str("transformers generate, ", experts, compiled ? ", static cache, compiled" : ""); }
};

void decode_against(Session& session, const std::string& name, const std::vector<Form>& forms, double expected_seconds) {
  Gpu gpu(session);
  gpu.limits();
  gpu.attempt(name, expected_seconds, [&] {
    const int64_t prompt_length = gpu.size(512, 12), fresh = gpu.size(64, 6);
    const ShapeR shape = make_gpu_shape(gpu);
    infer::Prompt prompt;
    RandomStream random(6, "bench/gpu_decode");
    for (int64_t i = 0; i < prompt_length; ++i) prompt.tokens.push_back(random.integer(0, shape.model->config().language.vocab_size - 2));
    infer::GenerateOptions options;
    options.sampling.max_new_tokens = fresh;
    const auto peer = gpu.start_peer("gpu_model");
    peer->call("build", gpu_peer_model(gpu, shape, forms[0].experts));
    const auto check = [&](const char* whose, const std::vector<int64_t>& answer) {
      const int64_t far = peer->call("behind", {{"prompt", prompt.tokens}, {"answer", answer}, {"share", kBehind}}).at("tokens");
      if (static_cast<int64_t>(answer.size()) != fresh || far > fresh / 8) {
        throw Error(str(far, " of the ", answer.size(), " tokens that ", whose, " are far from float64's best"));
      }
    };
    check("we choose", infer::generate(*shape.model, {prompt}, options)[0].tokens);
    Comparison c;
    c.name = name;
    c.shape = str(about(gpu, shape), "; ", fresh, " tokens after ", prompt_length);
    c.ours = [&] { return gpu.seconds([&] { infer::generate(*shape.model, {prompt}, options); }); };
    for (const Form& form : forms) {
      const Json arguments = {{"prompt", prompt.tokens}, {"new_tokens", fresh}, {"experts", form.experts}, {"compiled", form.compiled}};
      session.attempt(name, form.name(), [&] {
        check("it chooses", peer->call("generate", arguments).at("tokens"));
        c.sides.push_back({form.name(), [&peer, arguments] { return peer->seconds("generate", arguments); }});
      });
    }
    if (c.sides.empty()) return;
    c.finish = [&](Row& row) {
      const double bytes = 2 * activated_elements(shape, true) * static_cast<double>(fresh);
      row.limit_share = 1000 * bytes / gpu.limits().read_bytes_per_second / row.ours_ms;
      row.more = {{"limit", "reading the weights of every token, the prompt free of charge"},
                  {"tokens_per_second", std::round(1e4 * static_cast<double>(fresh) / row.ours_ms) / 10},
                  {"peer_tokens_per_second", std::round(1e4 * static_cast<double>(fresh) / row.peer_ms) / 10}};
    };
    gpu.compare(c);
  });
}

}  // namespace

void bench_gpu_decode(Session& session) {
  decode_against(session, "gpu-decode: greedy, one sequence", {{"batched_mm", false}, {"eager", false}}, 70);
}

void bench_gpu_compiled(Session& session) {
  decode_against(session, "gpu-decode: greedy, one sequence, against a compiled peer", {{"batched_mm", true}}, 120);
}

}  // namespace mose::bench
