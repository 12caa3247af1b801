// What sparsity costs and saves at shape r: the sparse decoder against dense ones of the same activated and of the same
// total size, a training step and decoding; and what one turn saves (turns.h).
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/session.h"
#include "bench/training.h"
#include "bench/turns.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/infer/generator.h"

namespace mose::bench {
namespace {

constexpr int64_t kSamples = 4, kLength = 320, kPrompt = 64, kNew = 64;

struct Twin {
  std::string peer;
  ShapeR shape;
};

double parameters(const ShapeR& shape, bool activated) {
  double sum = 0;
  for (const auto& [name, tensor] : shape.parameters) sum += static_cast<double>(tensor.numel()) * (activated ? share_a_token(name) : 1);
  return sum;
}

// The twins are what they are called: their sizes differ from the sparse model's by its routers alone.
void check_size(const ShapeR& dense, double wanted) {
  const double found = parameters(dense, false);
  if (std::abs(found - wanted) > 1e-3 * wanted) throw Error(str("the dense twin has ", found, " parameters, expected about ", wanted));
}

void compare(Session& session, const std::string& name, const ShapeR& sparse, const std::string& shape, double tokens, const Work& ours,
             const std::vector<std::pair<const Twin*, Work>>& others) {
  Comparison c;
  c.name = str("claim: sparse against dense, ", name);
  c.shape = str(sparse.about(), ", of which a token meets ", human_count(parameters(sparse, true)), "; ", shape);
  c.ours = ours;
  for (const auto& [twin, work] : others) c.sides.push_back({twin->peer, work});
  c.finish = [&](Row& row) {
    row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"ms_a_token", std::round(1e4 * row.ours_ms / tokens) / 1e4},
                {"peer_ms_a_token", std::round(1e4 * row.peer_ms / tokens) / 1e4}};
  };
  session.compare(c);
}

}  // namespace

void bench_claims(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  compare_turns(session);
  const ShapeR sparse = make_shape_r();
  const Twin activated{"ours, dense of the same activated size", make_shape_r(torch::kFloat32, 8, kTopK)},
      total{"ours, dense of the same total size", make_shape_r(torch::kFloat32, 8, kExperts)};
  check_size(activated.shape, parameters(sparse, true));
  check_size(total.shape, parameters(sparse, false));

  infer::Prompt prompt;
  RandomStream random(6, "bench/decode");
  const int64_t vocabulary = sparse.model->config().language.vocab_size;
  for (int64_t i = 0; i < kPrompt; ++i) prompt.tokens.push_back(random.integer(0, vocabulary - 1));
  infer::GenerateOptions options;
  options.sampling.max_new_tokens = kNew;
  const auto decode = [&](const ShapeR& shape) -> Work {
    return [&] { return wall_seconds([&] { infer::generate(*shape.model, {prompt}, options); }); };
  };
  compare(session, "decoding", sparse, str(kNew, " tokens after ", kPrompt), kNew, decode(sparse),
          {{&activated, decode(activated.shape)}, {&total, decode(total.shape)}});

  const data::Batch batch = make_batch(std::vector<int64_t>(kSamples, kLength), vocabulary);
  OurTraining training(sparse, batch), training_activated(activated.shape, batch), training_total(total.shape, batch);
  compare(session, "training step", sparse, str(kSamples, " x ", kLength, " tokens, a quarter supervised, AdamW"), kSamples * kLength,
          [&] { return training.step(); },
          {{&activated, [&] { return training_activated.step(); }}, {&total, [&] { return training_total.step(); }}});
}

}  // namespace mose::bench
