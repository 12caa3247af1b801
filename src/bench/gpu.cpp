#include "bench/gpu.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/nn/init.h"

namespace mose::bench {
namespace {

constexpr int64_t kLeastRepetitions = 3;
constexpr double kDeviation = 0.02;       // of drawn weights
constexpr uint64_t kDecoderSeed = 1000;  // of the decoder's first parameter; the next has the next one

torch::Device find_device(bool rehearse) {
  if (rehearse) return torch::kCPU;
  if (!torch::cuda::is_available()) throw Error("no GPU is available (--rehearse runs these rows on the CPU at tiny sizes)");
  return torch::Device(torch::kCUDA, 0);
}

}  // namespace

Gpu::Gpu(Session& session) : session_(session), device_(find_device(session.options().rehearse)) {}

void Gpu::wait() const {
  if (!device_.is_cpu()) torch::cuda::synchronize();
}

double Gpu::seconds(const std::function<void()>& work) const {
  wait();
  return wall_seconds([&] {
    work();
    wait();
  });
}

double Gpu::peak_bytes(const std::function<void()>& work) const {
  if (device_.is_cpu()) {
    work();
    return 0;
  }
  auto* allocator = c10::getDeviceAllocator(device_.type());
  wait();
  allocator->resetPeakStats(device_.index());
  const auto before = allocator->getDeviceStats(device_.index()).allocated_bytes[0].current;
  work();
  wait();
  return static_cast<double>(allocator->getDeviceStats(device_.index()).allocated_bytes[0].peak - before);
}

std::vector<GpuWork> limit_works(const Gpu& gpu) {
  const auto side = gpu.size(8192, 64), bytes = gpu.size(int64_t{4} << 30, 1 << 16);
  const auto a = at::randn({side, side}, at::dtype(torch::kBFloat16).device(gpu.device())), b = at::randn_like(a), product = at::empty_like(a);
  const auto from = at::ones({bytes / 4}, at::dtype(torch::kFloat32).device(gpu.device())), to = at::empty_like(from);
  const double moved = static_cast<double>(bytes), n = static_cast<double>(side);
  const std::string size = str(bytes >> 10, " KiB");
  return {{"gemm", str(side, " x ", side, " x ", side, ", bfloat16"), [=] {
             auto out = product;
             at::mm_out(out, a, b);
           }, 2 * n * n * n},
          {"copy", size, [=] { to.copy_(from); }, 2 * moved},
          {"read", size, [=] { from.sum(); }, moved}};
}

const GpuLimits& Gpu::limits() {
  auto& found = session_.gpu_limits;
  if (!found) {
    found = std::make_shared<GpuLimits>();
    const auto works = limit_works(*this);
    for (auto& [work, rate] : {std::pair{&works[0], &found->gemm_flops}, {&works[1], &found->copy_bytes_per_second}, {&works[2], &found->read_bytes_per_second}}) {
      std::vector<double> taken;
      work->run();
      for (int64_t i = 0; i < session_.options().repetitions; ++i) taken.push_back(seconds(work->run));
      *rate = work->amount / median(std::move(taken));
    }
    log::info("this GPU multiplies at ", fixed(found->gemm_flops / 1e12, 1), " TFLOP/s, copies ", fixed(found->copy_bytes_per_second / 1e9, 0),
              " GB/s and reads ", fixed(found->read_bytes_per_second / 1e9, 0), " GB/s");
  }
  return *found;
}

std::unique_ptr<Peer> Gpu::start_peer(const std::string& module) {
  auto peer = session_.start_peer(module, session_.threads());
  session_.report.device = peer->call("device", {{"device", device_.is_cpu() ? "cpu" : "cuda"}}).at("name").get<std::string>();
  return peer;
}

void Gpu::attempt(const std::string& name, double seconds, const std::function<void()>& work) {
  if (rehearsal()) seconds = 0;
  if (session_.seconds_left() < seconds) return session_.leave_out(name);
  session_.attempt(name, "", work);
}

void Gpu::compare(Comparison c) {
  const auto round = [&] {
    double sum = 2 * c.ours();
    for (const Side& side : c.sides) sum += side.work();
    return sum;
  };
  const double fitting = std::floor(session_.options().row_seconds / std::max(1e-9, round()));
  const int64_t most = session_.options().repetitions;
  c.repetitions = std::clamp(static_cast<int64_t>(std::min(fitting, 1e9)), std::min(kLeastRepetitions, most), most);
  const auto finish = c.finish;
  c.finish = [&](Row& row) {
    if (finish) finish(row);
    row.more["repetitions"] = c.repetitions;
    row.more["clock"] = "wall, from an idle device to an idle one";
    if (rehearsal()) row.more["rehearsal"] = "on the CPU at a tiny size: its times say nothing";
  };
  session_.compare(c);
}

ShapeR make_gpu_shape(const Gpu& gpu) {
  models::Config config;
  config.vision.stem = "patch";
  config.vision.image_height = config.vision.image_width = gpu.size(384, 32);
  config.vision.hidden_size = config.vision.intermediate_size = 64;
  config.vision.layers = config.vision.heads = 1;
  config.projector.merge = 1;
  auto& language = config.language;
  language.vocab_size = gpu.size(151936, 512);
  language.hidden_size = gpu.size(2048, 64);
  language.intermediate_size = gpu.size(5504, 96);
  language.layers = gpu.size(24, 2);
  language.heads = language.kv_heads = gpu.size(16, 2);
  language.tie_embeddings = false;
  language.moe.emplace();
  language.moe->experts = kExperts;
  language.moe->top_k = kTopK;
  language.moe->router = "topk";
  language.moe->placement = "listed";
  for (int64_t i = 1; i < language.layers; i += 2) language.moe->layers.push_back(i);
  config.image_token_id = language.vocab_size - 1;
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  ShapeR shape;
  {
    const nn::InitGuard empty(nn::Init::kEmpty);
    shape.model = models::make_model(config, 1, &taxonomy);
  }
  const auto options = at::dtype(torch::kBFloat16).device(gpu.device());
  const std::string prefix = "model.language_model.";
  uint64_t other = 0;
  for (auto& item : shape.model->named_parameters()) {
    const auto weight = at::empty(item.value().sizes(), options);
    const bool inner = item.key().starts_with(prefix), decoder = inner || item.key().starts_with("lm_head.");
    torch::manual_seed(decoder ? kDecoderSeed + shape.parameters.size() : ++other);
    if (weight.dim() >= 2) weight.normal_(0, kDeviation);
    else weight.fill_(item.key().ends_with("bias") ? 0 : 1);
    item.value().set_data(weight);
    if (decoder) shape.parameters.emplace_back(inner ? "model." + item.key().substr(prefix.size()) : item.key(), item.value());
  }
  shape.model->to(gpu.device(), torch::kBFloat16);  // what is no parameter
  return shape;
}

double activated_elements(const ShapeR& shape, bool head) {
  double sum = 0;
  for (const auto& [name, tensor] : shape.parameters) {
    if (name == "model.embed_tokens.weight" || (!head && name == "lm_head.weight")) continue;
    sum += static_cast<double>(tensor.numel()) * share_a_token(name);
  }
  return sum;
}

std::string about(const Gpu& gpu, const ShapeR& shape) {
  double all = 0;
  for (const auto& [name, tensor] : shape.parameters) all += static_cast<double>(tensor.numel());
  return str(gpu.rehearsal() ? "tiny R, " : "shape R, ", human_count(all), " parameters, of which a token meets ", human_count(activated_elements(shape, true)),
             ", bfloat16");
}

Json gpu_peer_model(const Gpu& gpu, const ShapeR& shape, const std::string& experts) {
  const Json same = peer_model(shape, "", experts, 1);
  Json parameters = Json::array();
  for (const auto& [name, tensor] : shape.parameters) parameters.push_back(name);
  return {{"parameters", parameters}, {"config", same.at("config")}, {"rope_theta", same.at("rope_theta")}, {"experts", experts},
          {"deviation", kDeviation}, {"seed", kDecoderSeed}, {"device", gpu.rehearsal() ? "cpu" : "cuda"}};
}

}  // namespace mose::bench
