#include "bench/turns.h"

#include <map>

#include "bench/corpus.h"
#include "bench/scene_questions.h"
#include "bench/shape_r.h"
#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/data/encode.h"
#include "mose/infer/continuous.h"

namespace mose::bench {
namespace {

constexpr int64_t kLayers = 4, kScenes = 8, kPlaces = 4, kRepetitions = 5, kVocabulary = 4000;
constexpr uint64_t kSeed = 12;

// Half of shape r behind a tower of 10 M parameters, which turns a picture into 45 rows.
std::shared_ptr<models::VisionLanguageModel> make_seeing_model(int64_t image_token, const skills::Taxonomy& taxonomy) {
  models::Config config = make_shape_r(torch::kFloat32, kLayers).model->config();
  config.vision = {};
  config.vision.stem = "patch";
  config.vision.hidden_size = 384;
  config.vision.intermediate_size = 1536;
  config.vision.layers = 6;
  config.image_token_id = image_token;
  return models::make_model(config, 4, &taxonomy);
}

// The same drawn scenes, asked in a form. Answers are given, so that all forms write the same tokens: what the form's questions
// ask for, one behind the other, is the single answer.
struct Form {
  std::string name;
  std::vector<infer::Request> requests;
  std::map<size_t, std::vector<int64_t>> answers;  // of the last run, by scene
  infer::ContinuousReport report;
};

struct Forms {
  Form single{"ours, one turn", {}, {}, {}}, shared{"ours, a turn a task, the picture's rows shared", {}, {}, {}},
      apart{"ours, a turn a task, every question by itself", {}, {}, {}};
};

Forms make_forms(const models::VisionLanguageModel& model, const text::Tokenizer& tokenizer, const skills::Taxonomy& taxonomy) {
  const auto layout = vision::layout_image({}, model.config().tiling());
  const auto& v = model.config().vision;
  Forms forms;
  torch::manual_seed(kSeed);
  vision::Picture picture;
  for (const SceneSample& sample : scene_samples(taxonomy, kSeed, kScenes)) {
    const auto tokens = data::encode_prompt(sample.question, tokenizer, data::EncodeConfig(), layout.rows());
    if (sample.form == "single_turn") {  // a scene's first
      picture = {torch::randn({1, 3, v.image_height, v.image_width}), layout};
      forms.single.requests.push_back({sample.scene, {tokens, {picture}}, {}});
      continue;
    }
    const auto answer = tokenizer.encode(sample.answer);
    auto& whole = forms.single.requests.back().forced;
    whole.insert(whole.end(), answer.begin(), answer.end());
    forms.shared.requests.push_back({sample.scene, {tokens, {picture}}, answer});
    forms.apart.requests.push_back({sample.scene, {tokens, {{picture.tiles_NCHW.clone(), layout}}}, answer});
  }
  return forms;
}

double answer_form(models::VisionLanguageModel& model, Form& form) {
  return wall_seconds([&] {
    std::vector<std::vector<int64_t>> answers(form.requests.size());
    size_t next = 0;
    const auto ask = [&]() -> std::optional<infer::Request> {
      if (next == form.requests.size()) return std::nullopt;
      infer::Request request = form.requests[next];
      request.index = next++;
      return request;
    };
    form.report = infer::answer_all(model, kPlaces, {}, ask, [&](infer::Answer a) { answers[a.index] = std::move(a.generation.tokens); });
    form.answers.clear();
    for (size_t i = 0; i < answers.size(); ++i) {
      auto& whole = form.answers[form.requests[i].index];
      whole.insert(whole.end(), answers[i].begin(), answers[i].end());
    }
  });
}

Json counts(const infer::ContinuousReport& r, const std::string& prefix) {
  return {{prefix + "image_encodings", r.image_encodings}, {prefix + "forward_passes", r.forward_passes},
          {prefix + "decoder_passes", r.decoder_passes}, {prefix + "rows", r.rows}, {prefix + "prompt_rows_shared", r.shared_tokens}};
}

}  // namespace

void compare_turns(Session& session) {
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  const auto tokenizer = text::train_byte_bpe(driving_texts(0, 200'000), kVocabulary, {"<image>", "<|im_start|>", "<|im_end|>"});
  const auto model = make_seeing_model(tokenizer.token_to_id("<image>"), taxonomy);
  Forms forms = make_forms(*model, tokenizer, taxonomy);
  int64_t tokens = 0;
  for (Form* form : {&forms.single, &forms.shared, &forms.apart}) {
    answer_form(*model, *form);
    if (form->answers != forms.single.answers) throw Error(str(form->name, ": other answers than in one turn"));
  }
  for (const auto& [scene, answer] : forms.single.answers) tokens += static_cast<int64_t>(answer.size());
  Comparison c;
  c.name = "claim: one turn against a turn a task";
  c.shape = str("shape r with ", kLayers, " layers behind a tower of 10 M parameters, float32; ", kScenes, " drawn scenes, ", kPlaces, " answers side by side, ", tokens,
                " answer tokens, the same in every form");
  c.repetitions = kRepetitions;
  c.ours = [&] { return answer_form(*model, forms.single); };
  for (Form* form : {&forms.apart, &forms.shared}) c.sides.push_back({form->name, [&model, form] { return answer_form(*model, *form); }});
  c.finish = [&](Row& row) {
    row.more = {{"threads", session.threads()}, {"clock", "wall"}};
    row.more.update(counts(forms.single.report, ""));
    row.more.update(counts(row.peer == forms.shared.name ? forms.shared.report : forms.apart.report, "peer_"));
  };
  session.compare(c);
}

}  // namespace mose::bench
