#include "train/samples.h"

#include <fstream>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"
#include "train/session.h"

namespace mose::train {

std::vector<SampleQuestion> pick_questions(const skills::Dataset& dataset, const models::Bundle& bundle, const DataConfig& config,
                                           int64_t count) {
  std::vector<SampleQuestion> out;
  const vision::Tiling tiling = bundle.model->config().tiling();
  for (const auto& sample : dataset.samples) {
    if (static_cast<int64_t>(out.size()) == count) break;
    SampleQuestion q{sample.id, sample.question, sample.answer, {}};
    int64_t rows = 0;
    if (!sample.image.empty()) {
      try {
        q.prompt.pictures = {config.loader.blind ? vision::blank_picture(bundle.preprocess, tiling)
                                                 : vision::load_picture(dataset.root / sample.image, bundle.preprocess, tiling)};
      } catch (const DataError& error) {
        log::warn("samples: left out ", sample.id, ": ", error.what());
        continue;
      }
      rows = q.prompt.pictures[0].layout.rows();
    }
    q.prompt.tokens = data::encode_prompt(sample.question, bundle.tokenizer, config.encode, rows);
    out.push_back(std::move(q));
  }
  return out;
}

void answer_samples(Session& session, const std::string& stage) {
  if (session.questions.empty() || !(session.first() || session.experts.parallel)) return;
  const auto& bundle = session.bundle;
  data::EncodeConfig encode;
  encode.chat_template = bundle.model->config().chat_template;
  infer::GenerateOptions options;
  options.sampling.max_new_tokens = session.recipe.sample_tokens;
  options.end_token = data::end_of_turn_id(bundle.tokenizer, encode);
  std::vector<infer::Prompt> prompts;
  for (const auto& q : session.questions) prompts.push_back(q.prompt);
  const nn::AutocastGuard autocast(session.device.type(), session.compute().autocast);
  const auto answers = infer::generate(*bundle.model, prompts, options);
  if (!session.first()) return;
  const auto file = session.run / "samples.jsonl";
  std::ofstream out(file, std::ios::app);
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto& q = session.questions[i];
    const std::string answer = bundle.tokenizer.decode(answers[i].tokens);
    if (i == 0) log::info("sample ", q.id, ": ", answer);
    out << Json{{"step", session.state.step}, {"stage", stage}, {"id", q.id}, {"question", q.question}, {"answer", answer},
                {"reference", q.reference}}.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  if (!out.flush()) throw Error(str(file.string(), ": cannot write (is the disk full?)"));
}

}  // namespace mose::train
