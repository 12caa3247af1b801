// A training step at shape r against transformers: forward, backward, clipping, fused AdamW; in float32, and in bfloat16
// where the CPU multiplies it. Ours then has float32 master weights, theirs updates bfloat16 weights, as its users have it.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "bench/session.h"
#include "bench/training.h"
#include "mose/core/error.h"
#include "mose/core/memory.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"

namespace mose::bench {
namespace {

constexpr int64_t kSamples = 4, kLength = 320, kSupervised = kLength / 4;
constexpr size_t kCheckedSteps = 3;

void save_for_peer(const data::Batch& batch, const std::filesystem::path& file) {
  const auto targets = batch.targets_T.view({kSamples, kLength});
  // transformers shifts labels itself.
  const auto labels = torch::cat({torch::full({kSamples, 1}, -100, torch::kInt64), targets.narrow(1, 0, kLength - 1)}, 1);
  io::save_safetensors(file, {{"tokens", batch.tokens_T.view({kSamples, kLength})}, {"labels", labels}});
}

// The first loss of either side may differ from float64's by the type's rounding: of sums in float32, of hidden states and
// logits (2^-8 each) in bfloat16. Later ones are compared in float32 only: in bfloat16 the two update other weights.
void check_losses(const std::vector<double>& ours, const std::vector<double>& theirs, double reference, bool bfloat16) {
  const auto check = [&](const char* what, double found, double wanted) {
    if (!(std::abs(found - wanted) <= (bfloat16 ? 5e-3 : 2e-4) * std::abs(wanted))) {
      throw Error(str(what, " is ", found, ", expected ", wanted));
    }
  };
  check("our first loss", ours[0], reference);
  check("their first loss", theirs[0], reference);
  for (size_t i = 1; i < theirs.size() && !bfloat16; ++i) check(i == 1 ? "our second loss" : "our third loss", ours[i], theirs[i]);
}

// Forward and backward take three times the products of the forward pass; a token meets every matrix once, the head and
// the last layer's experts only where there is a target. Attention's own products are left out.
double matrix_flops(const ShapeR& shape) {
  const std::string last = str("layers.", shape.model->config().language.layers - 1, ".");
  double everywhere = 0, supervised = 0;
  for (const auto& [name, tensor] : shape.parameters) {
    const double met = share_a_token(name) * static_cast<double>(tensor.numel());
    const bool late = name.find(last + "mlp.experts.") != std::string::npos;
    if (late || name == "model.embed_tokens.weight") supervised += met;
    else if (tensor.dim() >= 2) everywhere += met;
  }
  return 6 * kSamples * (everywhere * kLength + supervised * kSupervised);
}

struct Their {
  std::string experts;
  std::unique_ptr<Peer> peer;
  std::vector<double> losses;
  double memory = 0;
  double step() {
    const Json answer = peer->call("step");
    if (losses.size() < kCheckedSteps) losses.push_back(answer.at("loss"));
    memory = answer.at("memory");
    return answer.at("seconds");
  }
};

void train_in(Session& session, torch::Dtype type, const std::vector<std::string>& forms) {
  reset_peak_resident();
  const bool bfloat16 = type == torch::kBFloat16;
  const std::string name = str("training step, ", type_name(type));
  const ScratchFolder folder;
  const ShapeR shape = make_shape_r(type);
  const double flops = matrix_flops(shape);
  const data::Batch batch = make_batch(std::vector<int64_t>(kSamples, kLength), shape.model->config().language.vocab_size);
  save_for_peer(batch, folder.path() / "batch.safetensors");
  write_weights(shape, folder.path());
  const auto start_peer = [&](const std::string& experts) {
    auto peer = session.start_peer("model", session.threads());
    peer->call("build", peer_model(shape, folder.path(), experts, session.threads()));
    peer->call("load_batch", {{"batch", (folder.path() / "batch.safetensors").string()}, {"learning_rate", kLearningRate}, {"clip", kClip}});
    return peer;
  };
  std::vector<std::unique_ptr<Their>> theirs;
  for (const std::string& experts : forms) {
    session.attempt(name, str("transformers ", experts), [&] {
      theirs.push_back(std::make_unique<Their>(Their{experts, start_peer(experts), {}}));
    });
  }
  if (theirs.empty()) return;
  // The reference takes twice the memory, so it has a process of its own.
  const double reference = start_peer("eager")->call("reference_loss").at("loss");
  OurTraining ours(shape, batch);
  for (size_t i = 0; i < kCheckedSteps; ++i) ours.step();
  std::erase_if(theirs, [&](const auto& one) {
    return !session.attempt(name, "transformers " + one->experts, [&] {
      for (size_t i = 0; i < kCheckedSteps; ++i) one->step();
      check_losses(ours.losses, one->losses, reference, bfloat16);
    });
  });
  if (theirs.empty()) return;

  Comparison c;
  c.name = name;
  c.shape = str(shape.about(), "; ", kSamples, " x ", kLength, " tokens packed, a quarter supervised, AdamW",
                bfloat16 ? ", ours with float32 master weights" : "");
  c.repetitions = kSlowRepetitions;
  c.ours = [&] { return ours.step(); };
  const std::string peers = "transformers Qwen2-MoE ";
  for (auto& one : theirs) c.sides.push_back({peers + one->experts, [&] { return one->step(); }});
  c.finish = [&](Row& row) {
    const auto their = std::find_if(theirs.begin(), theirs.end(), [&](const auto& one) { return row.peer == peers + one->experts; });
    const double rate = bfloat16 ? session.limits().bfloat16_flops : session.limits().gemm_flops;
    row.limit_share = 1000 * flops / rate / row.ours_ms;
    const double tokens = kSamples * kLength;
    row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"limit", "its matrix products at the measured rate"},
                {"tokens_per_second", std::round(1e4 * tokens / row.ours_ms) / 10},
                {"peer_tokens_per_second", std::round(1e4 * tokens / row.peer_ms) / 10},
                {"peak_mib", std::round(static_cast<double>(peak_resident_bytes()) / (1 << 20))},
                {"peer_peak_mib", std::round((*their)->memory / (1 << 20))}};
  };
  session.limits();
  session.compare(c);
}

}  // namespace

void bench_train(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  train_in(session, torch::kFloat32, {"eager", "grouped_mm"});
  session.attempt("training step, bfloat16", "transformers Qwen2-MoE grouped_mm", [&] {
    require_bfloat16();
    train_in(session, torch::kBFloat16, {"grouped_mm"});
  });
}

}  // namespace mose::bench
