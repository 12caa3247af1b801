// Greedy decoding of one sequence at shape r against transformers' generate.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/session.h"
#include "bench/shape_r.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/infer/generator.h"

namespace mose::bench {
namespace {

constexpr int64_t kPrompt = 64, kNew = 64;

// What one new token must read: every matrix once, of the experts the chosen ones.
double bytes_a_token(const ShapeR& shape) {
  double bytes = 0;
  for (const auto& [name, tensor] : shape.parameters) {
    bytes += static_cast<double>(tensor.nbytes()) * share_a_token(name);
  }
  return bytes;
}

}  // namespace

void bench_decode(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  const ScratchFolder folder;
  const ShapeR shape = make_shape_r();
  infer::Prompt prompt;
  RandomStream random(6, "bench/decode");
  for (int64_t i = 0; i < kPrompt; ++i) prompt.tokens.push_back(random.integer(0, shape.model->config().language.vocab_size - 1));
  infer::GenerateOptions options;
  options.sampling.max_new_tokens = kNew;
  const auto expected = infer::generate(*shape.model, {prompt}, options)[0].tokens;

  write_weights(shape, folder.path());
  const Json arguments = {{"prompt", prompt.tokens}, {"new_tokens", kNew}};
  std::vector<std::unique_ptr<Peer>> peers;
  Comparison c;
  c.name = "greedy decoding, one sequence";
  c.shape = str(shape.about(), "; ", kNew, " tokens after ", kPrompt);
  c.ours = [&] { return wall_seconds([&] { infer::generate(*shape.model, {prompt}, options); }); };
  for (const char* experts : {"eager", "grouped_mm", "batched_mm"}) {
    const std::string name = str("transformers generate, ", experts);
    session.attempt(c.name, name, [&] {
      auto peer = session.start_peer("model", session.threads());
      peer->call("build", peer_model(shape, folder.path(), experts, session.threads()));
      const std::vector<int64_t> theirs = peer->call("generate", arguments).at("tokens");
      if (theirs != expected) throw Error(str("it generates other tokens: ", Json(theirs).dump(), ", ours are ", Json(expected).dump()));
      Peer& ready = *peers.emplace_back(std::move(peer));
      c.sides.push_back({name, [&ready, &arguments] { return ready.seconds("generate", arguments); }});
    });
  }
  if (c.sides.empty()) return;
  session.limits();
  c.finish = [&](Row& row) {
    row.limit_share = 1000 * kNew * bytes_a_token(shape) / session.limits().copy_bytes_per_second / row.ours_ms;
    row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"limit", "reading the weights of every token at the bandwidth of a copy"},
                {"tokens_per_second", std::round(1e4 * kNew / row.ours_ms) / 10},
                {"peer_tokens_per_second", std::round(1e4 * kNew / row.peer_ms) / 10}};
  };
  session.compare(c);
}

}  // namespace mose::bench
