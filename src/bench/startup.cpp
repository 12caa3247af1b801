// How soon a model answers its first token when its files are opened, without what starting the programs takes; the files are
// in memory, as after a first run.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/llava.h"
#include "bench/session.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/infer/generator.h"
#include "mose/models/bundle.h"

namespace mose::bench {
namespace {

constexpr int64_t kLayers = 8;

}  // namespace

void bench_startup(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  const ScratchFolder folder;
  infer::Prompt prompt;
  double bytes = 0;
  {
    const auto bundle = make_llava(kLayers);
    save_llava(bundle, folder.path());
    prompt.tokens = bundle.tokenizer.encode("What does the driver have to look out for?");
    for (const auto& parameter : bundle.model->parameters()) bytes += static_cast<double>(parameter.nbytes());
  }
  const auto peer = session.start_peer("llava", session.threads());
  int64_t token = -1;
  const auto ours = [&] {
    return wall_seconds([&] {
      const auto bundle = models::load_bundle(folder.path() / "ours");
      infer::GenerateOptions options;
      options.sampling.max_new_tokens = 1;
      token = infer::generate(*bundle.model, {prompt}, options)[0].tokens.at(0);
    });
  };
  const Json arguments = {{"folder", (folder.path() / "theirs").string()}, {"prompt", prompt.tokens}, {"threads", session.threads()}};
  ours();
  const int64_t theirs = peer->call("first_token", arguments).at("token");
  if (theirs != token) throw Error(str("its first token is ", theirs, ", ours is ", token));
  Comparison c;
  c.name = "start-up to the first token";
  c.shape = str("shape r behind a CLIP tower of 11 M parameters, float32, ", std::round(bytes / (1 << 20)), " MiB; a prompt of ", prompt.tokens.size(), " tokens");
  c.repetitions = kSlowRepetitions;
  c.ours = ours;
  c.sides = {{"transformers from_pretrained and generate", [&] { return peer->seconds("first_token", arguments); }}};
  session.limits();
  c.finish = [&](Row& row) {
    row.limit_share = 1000 * 2 * bytes / session.limits().copy_bytes_per_second / row.ours_ms;
    row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"limit", "copying the weights out of the file's pages"}};
  };
  session.compare(c);
}

}  // namespace mose::bench
