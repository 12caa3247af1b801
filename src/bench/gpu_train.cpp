// A training step of GPU shape R, in bfloat16 with float32 master weights, against transformers, whose fused AdamW updates bfloat16
// weights; against the device's peak; and packed against padded samples.
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"
#include "bench/training.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"

namespace mose::bench {
namespace {

constexpr double kLossDifference = 5e-3;  // bfloat16 rounds hidden states and logits
const char* const kStep = "gpu-train: step";

void check_loss(const char* whose, double found, double wanted) {
  if (!(std::abs(found - wanted) <= kLossDifference * std::abs(wanted))) throw Error(str(whose, " loss is ", found, ", expected ", wanted));
}

// Forward and backward take three times the products of the forward pass; the head only where there is a target. Attention's
// own products are left out.
double step_flops(const ShapeR& shape, const data::Batch& batch) {
  const double body = activated_elements(shape, false), head = activated_elements(shape, true) - body;
  return 6 * (body * static_cast<double>(batch.plan.tokens()) + head * static_cast<double>(batch.supervised));
}

class Bench {
 public:
  explicit Bench(Gpu& gpu)
      : gpu_(gpu), shape_(make_gpu_shape(gpu)), length_(gpu.size(1024, 16)), batch_(samples(gpu.size(4, 2))), ours_(shape_, batch_) {}

  void against_transformers() {
    const int64_t count = batch_.samples;
    const ScratchFolder folder;
    const auto file = folder.path() / "batch.safetensors";
    const auto targets = batch_.targets_T.view({count, length_});
    // transformers shifts labels itself.
    const auto labels = torch::cat({torch::full({count, 1}, -100, torch::kInt64), targets.narrow(1, 0, length_ - 1)}, 1);
    io::save_safetensors(file, {{"tokens", batch_.tokens_T.view({count, length_})}, {"labels", labels}});
    const auto peer = gpu_.start_peer("gpu_model");
    peer->call("build", gpu_peer_model(gpu_, shape_, "eager"));
    peer->call("load_batch", {{"batch", file.string()}, {"learning_rate", kLearningRate}, {"clip", kClip}});
    const double reference = peer->call("reference_loss").at("loss");
    check_loss("our", ours_.loss(), reference);
    check_loss("their", peer->call("loss").at("loss"), reference);
    double memory = 0;
    Comparison c;
    c.name = kStep;
    c.shape = shape_of(batch_, "AdamW");
    c.ours = [&] { return gpu_.seconds([&] { ours_.step(); }); };
    for (const std::string experts : {"eager", "grouped_mm"}) {
      c.sides.push_back({"transformers Qwen2-MoE " + experts + ", SDPA, fused AdamW", [&, experts] {
                           const Json answer = peer->call("step", {{"experts", experts}});
                           memory = answer.at("memory");
                           return answer.at("seconds").get<double>();
                         }});
    }
    const double bytes = gpu_.peak_bytes([&] { ours_.step(); });
    c.finish = [&](Row& row) {
      share_of_peak(row, batch_);
      const double tokens = static_cast<double>(batch_.plan.tokens());
      row.more["tokens_per_second"] = std::round(1000 * tokens / row.ours_ms);
      row.more["peer_tokens_per_second"] = std::round(1000 * tokens / row.peer_ms);
      if (bytes > 0) row.more["step_mib"] = std::round(bytes / (1 << 20));
      if (memory > 0) row.more["peer_step_mib"] = std::round(memory / (1 << 20));
    };
    gpu_.compare(c);
  }

  // The same step on more tokens; the peer is what its products would take alone.
  void against_peak() {
    const data::Batch batch = samples(gpu_.size(16, 4));
    ours_.use(batch);
    const double bound = step_flops(shape_, batch) / gpu_.limits().gemm_flops;
    Comparison c;
    c.name = "gpu-train: share of the device's peak";
    c.shape = shape_of(batch, "AdamW");
    c.ours = [&] { return gpu_.seconds([&] { ours_.step(); }); };
    c.sides = {{"its matrix products at the measured rate, nothing else", [=] { return bound; }}};
    c.finish = [&](Row& row) { share_of_peak(row, batch); };
    gpu_.compare(c);
  }

  void packed_against_padded() {
    std::vector<int64_t> lengths;
    for (int64_t n = 1; n <= 16; ++n) lengths.push_back(length_ * n / 16);
    const data::Batch packed = make_batch(lengths, vocabulary()), padded = make_batch(lengths, vocabulary(), length_);
    std::vector<double> losses;
    const auto step = [&](const data::Batch& batch) {
      ours_.use(batch);
      return gpu_.seconds([&] { ours_.step(); });
    };
    for (const auto* batch : {&packed, &padded}) {
      ours_.use(*batch);
      losses.push_back(ours_.loss());
    }
    check_loss("the packed", losses[0], losses[1]);
    Comparison c;
    c.name = "gpu-train: packed";
    c.shape = str(about(gpu_, shape_), "; 16 samples of ", lengths.front(), " to ", lengths.back(), " tokens, a quarter supervised");
    c.ours = [&] { return step(packed); };
    c.sides = {{"ours, padded to the longest", [&] { return step(padded); }}};
    c.finish = [&](Row& row) { row.more = {{"rows", packed.plan.tokens()}, {"padded_rows", padded.plan.tokens()}}; };
    gpu_.compare(c);
  }

 private:
  int64_t vocabulary() const { return shape_.model->config().language.vocab_size - 1; }  // the last one stands for an image's row
  data::Batch samples(int64_t count) const { return make_batch(std::vector<int64_t>(static_cast<size_t>(count), length_), vocabulary()); }
  std::string shape_of(const data::Batch& batch, const char* rest) const {
    return str(about(gpu_, shape_), "; ", batch.samples, " x ", length_, " tokens packed, a quarter supervised, ", rest);
  }
  void share_of_peak(Row& row, const data::Batch& batch) {
    row.limit_share = 1000 * step_flops(shape_, batch) / gpu_.limits().gemm_flops / row.ours_ms;
    row.more = {{"limit", "its matrix products at the measured rate"}};
  }

  Gpu& gpu_;
  ShapeR shape_;
  int64_t length_;
  data::Batch batch_;
  OurTraining ours_;
};

}  // namespace

void bench_gpu_train(Session& session) {
  Gpu gpu(session);
  gpu.limits();
  gpu.attempt(kStep, 60, [&] {
    Bench bench(gpu);
    session.attempt(kStep, "transformers", [&] { bench.against_transformers(); });
    gpu.attempt("gpu-train: share of the device's peak", 10, [&] { bench.against_peak(); });
    gpu.attempt("gpu-train: packed", 10, [&] { bench.packed_against_padded(); });
  });
}

}  // namespace mose::bench
