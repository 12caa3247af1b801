// A training step at shape r against transformers: forward, backward, clipping, fused AdamW.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "bench/session.h"
#include "bench/shape_r.h"
#include "mose/core/error.h"
#include "mose/core/memory.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/optim/adamw.h"
#include "mose/optim/clip.h"
#include "mose/train/losses.h"

namespace mose::bench {
namespace {

constexpr int64_t kSamples = 4, kLength = 320, kSupervised = kLength / 4;
constexpr double kLearningRate = 1e-4, kClip = 1, kLossDifference = 2e-4;
constexpr size_t kCheckedSteps = 3;

// Random tokens; the last quarter of each sample is supervised.
data::Batch make_batch(int64_t vocabulary, io::TensorMap& for_peer) {
  RandomStream random(5, "bench/train");
  data::Batch batch;
  batch.plan = nn::make_plan(std::vector<int64_t>(kSamples, kLength));
  batch.tokens_T = torch::empty({kSamples * kLength}, torch::kInt64);
  batch.targets_T = torch::full({kSamples * kLength}, -100, torch::kInt64);
  torch::Tensor labels = torch::full({kSamples, kLength}, -100, torch::kInt64);
  auto tokens = batch.tokens_T.accessor<int64_t, 1>(), targets = batch.targets_T.accessor<int64_t, 1>();
  for (int64_t t = 0; t < kSamples * kLength; ++t) tokens[t] = random.integer(0, vocabulary - 1);
  for (int64_t n = 0; n < kSamples; ++n) {
    for (int64_t i = kLength - kSupervised; i < kLength; ++i) {
      const int64_t t = n * kLength + i;
      labels[n][i] = tokens[t];    // transformers shifts them itself
      targets[t - 1] = tokens[t];  // ours are by the row that predicts
    }
  }
  batch.segments_T = torch::full_like(batch.tokens_T, -1);
  batch.labels.stage_weight_T = torch::zeros({kSamples * kLength});
  batch.samples = kSamples;
  batch.supervised = kSamples * kSupervised;
  for_peer = {{"tokens", batch.tokens_T.view({kSamples, kLength})}, {"labels", labels}};
  return batch;
}

class OurTraining {
 public:
  OurTraining(ShapeR shape, data::Batch batch) : shape_(std::move(shape)), batch_(std::move(batch)), optimizer_(named(shape_), {}) {
    whole_ = train::normalisers(batch_, weights_);
  }
  double step() {
    double loss = 0;
    const double seconds = wall_seconds([&] {
      auto result = train::batch_loss(*shape_.model, batch_, weights_, whole_);
      result.loss.backward();
      optim::clip_gradients(optimizer_.parameters(), kClip);
      optimizer_.step(kLearningRate);
      optimizer_.zero_grad();
      loss = result.report.total.item<double>();
    });
    losses.push_back(loss);
    return seconds;
  }
  std::vector<double> losses;

 private:
  static std::vector<optim::NamedParameter> named(const ShapeR& shape) {
    std::vector<optim::NamedParameter> list;
    for (const auto& [name, tensor] : shape.parameters) list.push_back({name, tensor});
    return list;
  }
  ShapeR shape_;
  data::Batch batch_;
  train::StepWeights weights_;
  train::Normalisers whole_;
  optim::AdamW optimizer_;
};

void check_losses(const std::vector<double>& ours, const std::vector<double>& theirs, double reference) {
  const auto differs = [](double a, double b) { return !(std::abs(a - b) <= kLossDifference * std::abs(b)); };
  if (differs(ours[0], reference)) throw Error(str("our loss is ", ours[0], ", in float64 it is ", reference));
  for (size_t i = 0; i < ours.size(); ++i) {
    if (differs(ours[i], theirs[i])) throw Error(str("step ", i + 1, ": our loss is ", ours[i], ", theirs ", theirs[i]));
  }
}

// Forward and backward take three times the products of the forward pass; a token meets every matrix once, the
// head only where there is a target. Attention's own products are left out.
double matrix_flops(const ShapeR& shape) {
  double a_token = 0, head = 0;
  for (const auto& [name, tensor] : shape.parameters) {
    if (name == "model.embed_tokens.weight") head = static_cast<double>(tensor.numel());
    else if (tensor.dim() >= 2) a_token += share_a_token(name) * static_cast<double>(tensor.numel());
  }
  return 6 * (a_token * kSamples * kLength + head * kSamples * kSupervised);
}

}  // namespace

void bench_train(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  reset_peak_resident();
  const ScratchFolder folder;
  const ShapeR shape = make_shape_r();
  const double flops = matrix_flops(shape);
  io::TensorMap for_peer;
  const data::Batch batch = make_batch(shape.model->config().language.vocab_size, for_peer);
  io::save_safetensors(folder.path() / "batch.safetensors", for_peer);

  write_weights(shape, folder.path());
  const auto start_peer = [&](const std::string& experts) {
    auto peer = session.start_peer("model", session.threads());
    peer->call("build", peer_model(shape, folder.path(), experts, session.threads()));
    peer->call("load_batch", {{"batch", (folder.path() / "batch.safetensors").string()}, {"learning_rate", kLearningRate}, {"clip", kClip}});
    return peer;
  };
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
  std::vector<std::unique_ptr<Their>> theirs;
  for (const char* experts : {"eager", "grouped_mm"}) {
    session.attempt("training step", str("transformers ", experts), [&] {
      theirs.push_back(std::make_unique<Their>(Their{experts, start_peer(experts), {}}));
    });
  }
  if (theirs.empty()) return;
  // The reference takes twice the memory, so it has a process of its own.
  const double reference = start_peer("eager")->call("reference_loss").at("loss");
  OurTraining ours(shape, batch);
  for (size_t i = 0; i < kCheckedSteps; ++i) ours.step();
  std::erase_if(theirs, [&](const auto& one) {
    return !session.attempt("training step", "transformers " + one->experts, [&] {
      for (size_t i = 0; i < kCheckedSteps; ++i) one->step();
      check_losses(ours.losses, one->losses, reference);
    });
  });
  if (theirs.empty()) return;

  Comparison c;
  c.name = "training step";
  c.shape = str(shape.about(), "; ", kSamples, " x ", kLength, " tokens packed, a quarter supervised, AdamW");
  c.ours = [&] { return ours.step(); };
  const std::string peers = "transformers Qwen2-MoE ";
  for (auto& one : theirs) c.sides.push_back({peers + one->experts, [&] { return one->step(); }});
  c.finish = [&](Row& row) {
    const auto their = std::find_if(theirs.begin(), theirs.end(), [&](const auto& one) { return row.peer == peers + one->experts; });
    row.limit_share = 1000 * flops / session.limits().gemm_flops / row.ours_ms;
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

}  // namespace mose::bench
