// Several questions about each of some pictures, answered in a batch: ours encode a picture once and let an ended answer's place
// go, transformers' generate pads. Answers are given (forced), so that both write the same tokens.
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/infer/continuous.h"
#include "mose/io/safetensors.h"

namespace mose::bench {
namespace {

constexpr int64_t kEnd = 1;
constexpr double kBehind = 8.0 / 256;  // as in gpu_decode.cpp

struct Questions {
  std::vector<infer::Request> requests;
  std::vector<int64_t> picture;  // of each
  torch::Tensor images_PQD;      // the pictures' rows for the decoder
};

Questions make_questions(const Gpu& gpu, models::VisionLanguageModel& model) {
  const torch::NoGradGuard no_grad;
  const int64_t pictures = gpu.size(8, 2), rows = model.config().image_tokens(), image = model.config().image_token_id;
  const auto& v = model.config().vision;
  torch::manual_seed(8);
  const auto pixels = torch::randn({pictures, 3, v.image_height, v.image_width}).to(gpu.device(), model.type());
  const auto layout = vision::layout_image({v.image_width, v.image_height}, model.config().tiling());
  RandomStream random(9, "bench/gpu_evaluate");
  const auto words = [&](std::vector<int64_t>& to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to.push_back(random.integer(kEnd + 1, image - 1));
  };
  Questions q;
  q.images_PQD = model.encode_images(pixels).embeddings_BQD;
  for (int64_t p = 0; p < pictures; ++p) {
    const vision::Picture picture{pixels.narrow(0, p, 1), layout};
    for (int64_t n = 0; n < 3; ++n) {
      infer::Request request{q.requests.size(), {{5, 6, 7, 8}, {picture}}, {}};
      request.prompt.tokens.insert(request.prompt.tokens.end(), static_cast<size_t>(rows), image);
      words(request.prompt.tokens, random.integer(gpu.size(16, 2), gpu.size(48, 6)));
      words(request.forced, random.integer(gpu.size(16, 2), gpu.size(128, 6)));
      q.requests.push_back(std::move(request));
      q.picture.push_back(p);
    }
  }
  return q;
}

infer::ContinuousReport answer(models::VisionLanguageModel& model, const std::vector<infer::Request>& requests, const infer::GenerateOptions& options,
                               std::vector<std::vector<int64_t>>& answers) {
  answers.assign(requests.size(), {});
  size_t next = 0;
  return infer::answer_all(
      model, static_cast<int64_t>(requests.size()), options,
      [&]() -> std::optional<infer::Request> { return next < requests.size() ? std::optional(requests[next++]) : std::nullopt; },
      [&](infer::Answer a) { answers[a.index] = std::move(a.generation.tokens); });
}

}  // namespace

void bench_gpu_evaluate(Session& session) {
  Gpu gpu(session);
  const std::string name = "gpu-evaluate: questions about pictures";
  gpu.attempt(name, 70, [&] {
    const ShapeR shape = make_gpu_shape(gpu);
    const Questions q = make_questions(gpu, *shape.model);
    const ScratchFolder folder;
    const auto file = folder.path() / "images.safetensors";
    io::save_safetensors(file, {{"images", q.images_PQD.cpu()}});
    Json prompts = Json::array();
    int64_t tokens = 0;
    for (size_t i = 0; i < q.requests.size(); ++i) {
      prompts.push_back({{"tokens", q.requests[i].prompt.tokens}, {"picture", q.picture[i]}, {"answer", q.requests[i].forced}});
      tokens += static_cast<int64_t>(q.requests[i].forced.size());
    }
    const auto peer = gpu.start_peer("gpu_model");
    peer->call("build", gpu_peer_model(gpu, shape, "batched_mm"));
    peer->call("load_questions", {{"images", file.string()}, {"image_token", shape.model->config().image_token_id}, {"end", kEnd}, {"prompts", prompts}});

    // What either side chooses by itself is what float64 does; what it is given it writes.
    infer::GenerateOptions options;
    options.sampling.max_new_tokens = gpu.size(16, 4);
    std::vector<infer::Request> free = q.requests;
    for (auto& request : free) request.forced.clear();
    std::vector<std::vector<int64_t>> chosen, written;
    answer(*shape.model, free, options, chosen);
    std::vector<std::vector<int64_t>> theirs = peer->call("answer", {{"new_tokens", options.sampling.max_new_tokens}}).at("answers");
    for (const auto& [whose, answers] : {std::pair{"we choose", &chosen}, {"it chooses", &theirs}}) {
      const int64_t far = peer->call("questions_behind", {{"answers", *answers}, {"share", kBehind}}).at("tokens");
      const int64_t all = static_cast<int64_t>(answers->size()) * options.sampling.max_new_tokens;
      if (far > all / 8) throw Error(str(far, " of the ", all, " tokens that ", whose, " are far from float64's best"));
    }
    const auto report = answer(*shape.model, q.requests, options, written);
    const std::vector<std::vector<int64_t>> forced = peer->call("answer").at("answers");
    for (size_t i = 0; i < written.size(); ++i) {
      if (written[i] != q.requests[i].forced || forced[i] != written[i]) throw Error(str("answer ", i, " is not the one given"));
    }
    Comparison c;
    c.name = name;
    c.shape = str(about(gpu, shape), "; ", q.images_PQD.size(0), " pictures of ", q.images_PQD.size(1), " rows, 3 questions each, ", tokens, " answer tokens");
    c.ours = [&] { return gpu.seconds([&] { answer(*shape.model, q.requests, options, written); }); };
    c.sides = {{"transformers generate, batched_mm, padded", [&] { return peer->seconds("answer"); }}};
    c.finish = [&](Row& row) {
      row.more = {{"tokens_per_second", std::round(1e4 * static_cast<double>(tokens) / row.ours_ms) / 10},
                  {"peer_tokens_per_second", std::round(1e4 * static_cast<double>(tokens) / row.peer_ms) / 10},
                  {"prompt_rows_shared", report.shared_tokens}, {"rows", report.rows}};
    };
    gpu.compare(c);
  });
}

}  // namespace mose::bench
