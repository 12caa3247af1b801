// Every question about drawn scenes answered, as an evaluation does: ours with continuous batching and a picture's rows shared by
// its questions, transformers' generate on padded batches of as many. Answers are given, so that both write the same tokens and
// end where the annotation ends.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/llava.h"
#include "bench/scene_questions.h"
#include "bench/session.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/data/encode.h"
#include "mose/infer/continuous.h"
#include "mose/io/safetensors.h"

namespace mose::bench {
namespace {

constexpr int64_t kLayers = 4, kScenes = 4, kPlaces = 4, kRepetitions = 3, kChecked = 12;

struct Questions {
  std::vector<infer::Request> requests;
  std::vector<torch::Tensor> pictures;
  Json told = Json::array();  // to the peer
  int64_t tokens = 0;         // of all answers
};

Questions make_questions(const models::Bundle& bundle) {
  const auto layout = vision::layout_image({}, bundle.model->config().tiling());
  const auto& v = bundle.model->config().vision;
  Questions out;
  torch::manual_seed(7);
  for (const SceneSample& sample : scene_samples(bundle.taxonomy, 12, kScenes)) {
    if (sample.form == "single_turn") continue;
    if (out.pictures.size() <= sample.scene) out.pictures.push_back(torch::randn({1, 3, v.image_height, v.image_width}));
    const auto tokens = data::encode_prompt(sample.question, bundle.tokenizer, data::EncodeConfig(), layout.rows());
    const auto answer = bundle.tokenizer.encode(sample.answer);
    out.told.push_back({{"tokens", tokens}, {"picture", sample.scene}, {"answer", answer}});
    out.tokens += static_cast<int64_t>(answer.size());
    out.requests.push_back({out.requests.size(), {tokens, {{out.pictures[sample.scene], layout}}}, answer});
  }
  return out;
}

infer::ContinuousReport answer(models::VisionLanguageModel& model, const std::vector<infer::Request>& requests) {
  size_t next = 0;
  const auto ask = [&]() -> std::optional<infer::Request> {
    if (next == requests.size()) return std::nullopt;
    return requests[next++];
  };
  return infer::answer_all(model, kPlaces, {}, ask, [](const infer::Answer&) {});
}

// What each side would say by itself begins with the same words.
void check_words(models::VisionLanguageModel& model, const Questions& questions, Peer& peer) {
  std::vector<infer::Prompt> prompts;
  for (size_t i = 0; i < questions.requests.size(); i += 3) prompts.push_back(questions.requests[i].prompt);
  infer::GenerateOptions options;
  options.sampling.max_new_tokens = kChecked;
  Json ours = Json::array();
  for (const auto& one : infer::generate(model, prompts, options)) ours.push_back(one.tokens);
  const Json theirs = peer.call("words", {{"tokens", kChecked}, {"every", 3}}).at("tokens");
  if (theirs != ours) throw Error(str("it says ", theirs.dump(), ", ours ", ours.dump()));
}

}  // namespace

void bench_evaluate(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  const ScratchFolder folder;
  const auto bundle = make_llava(kLayers);
  const Questions questions = make_questions(bundle);
  save_llava(bundle, folder.path());
  io::save_safetensors(folder.path() / "pictures.safetensors", {{"pixels", torch::cat(questions.pictures)}});
  const auto peer = session.start_peer("llava", session.threads());
  peer->call("load", {{"folder", (folder.path() / "theirs").string()}, {"threads", session.threads()}});
  peer->call("ask", {{"pictures", (folder.path() / "pictures.safetensors").string()}, {"questions", questions.told}});
  check_words(*bundle.model, questions, *peer);
  infer::ContinuousReport report;
  Comparison c;
  c.name = "batch evaluation";
  c.shape = str("shape r with ", kLayers, " layers behind a CLIP tower of 11 M parameters, float32; ", questions.requests.size(),
                " questions about ", kScenes, " drawn scenes, ", questions.tokens, " answer tokens, ", kPlaces, " side by side");
  c.repetitions = kRepetitions;
  c.ours = [&] { return wall_seconds([&] { report = answer(*bundle.model, questions.requests); }); };
  c.sides = {{"transformers generate, padded", [&] { return peer->seconds("answer", {{"batch", kPlaces}}); }}};
  c.finish = [&](Row& row) {
    row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"answers_per_second", std::round(1e6 * static_cast<double>(report.answers) / row.ours_ms) / 1e3},
                {"peer_answers_per_second", std::round(1e6 * static_cast<double>(report.answers) / row.peer_ms) / 1e3},
                {"image_encodings", report.image_encodings}, {"prompt_rows_shared", report.shared_tokens}};
  };
  session.compare(c);
}

}  // namespace mose::bench
