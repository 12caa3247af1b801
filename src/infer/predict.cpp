#include "mose/infer/predict.h"

#include <chrono>
#include <map>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"
#include "mose/core/signals.h"
#include "mose/data/encode.h"
#include "mose/eval/questions.h"
#include "mose/infer/controls.h"
#include "mose/skills/prepare.h"

namespace mose::infer {
namespace {

using RowKey = std::pair<std::string, std::string>;  // (scene id, region index or "")

// One generated answer and the rows that it fills.
struct Item {
  std::string task, scene, region, question, image, category;
};

std::vector<Item> list_items(const skills::Taxonomy& taxonomy, const PredictOptions& options) {
  const skills::Annotator annotator(taxonomy);
  skills::PrepareOptions form;
  form.single_turn = options.form == "single_turn";
  form.multi_turn = !form.single_turn;
  form.root = options.root;
  std::vector<Item> items;
  int64_t images = 0;
  for (const auto& file : coda::list_annotations(options.root, options.split)) {
    if (options.limit > 0 && images++ == options.limit) break;
    const auto annotation = coda::load_annotation(file);
    for (const auto& sample : skills::make_samples(annotation, annotator, form)) {
      std::string category;
      for (const auto& region : annotation.regions) {
        if (region.index == sample.region_index) category = region.category_name;
      }
      std::string question = sample.question;
      if (options.oracle_category && !category.empty()) {
        question += " The object is a " + replace_all(category, "_", " ") + ".";
      }
      items.push_back({sample.task, annotation.id, sample.region_index, question, sample.image, category});
    }
  }
  if (options.shuffled) {
    std::vector<Shown> shown;
    for (const Item& item : items) shown.push_back({item.scene, item.image, !item.region.empty()});
    const auto images = shuffled_images(shown, static_cast<uint64_t>(options.shuffle_seed));
    for (size_t i = 0; i < items.size(); ++i) items[i].image = images[i];
  }
  return items;
}

struct Answer {
  std::string text, category;  // category: region rows only
};

// The rows of a task that the split asks for, with their answers.
std::vector<coda::VqaRow> fill_rows(const PredictOptions& options, const std::string& task,
                                    const std::map<RowKey, Answer>& answers) {
  std::vector<coda::VqaRow> rows;
  int64_t next_id = 0;
  for (const auto& question : eval::load_questions(options.root, options.split, task)) {
    const auto found = answers.find({question.id, question.region});
    if (found == answers.end()) continue;  // beyond `limit`
    coda::VqaRow row;
    row.question_id = question.question_id >= 0 ? question.question_id : next_id++;
    row.image = question.image;
    row.answer = found->second.text;
    row.label_name = found->second.category;
    rows.push_back(std::move(row));
  }
  return rows;
}

// Every stage's text of an answer, headers taken off, joined by spaces.
std::string without_headers(const std::string& answer, const skills::Taxonomy& taxonomy) {
  std::string out;
  for (const auto& part : skills::split_answer(answer, taxonomy)) {
    const std::string text = trim(replace_all(part, "\n", " "));
    if (!text.empty()) out += (out.empty() ? "" : " ") + text;
  }
  return out;
}

}  // namespace

TaskAnswers task_answers(const std::string& answer, const skills::Taxonomy& taxonomy) {
  const auto parts = skills::split_answer(answer, taxonomy);
  TaskAnswers sliced;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string text = trim(replace_all(parts[i], "\n", " "));
    auto& into = taxonomy.stages()[i].name == "plan" ? sliced.driving_suggestion : sliced.general_perception;
    if (!text.empty()) into += (into.empty() ? "" : " ") + text;
  }
  return sliced;
}

PredictReport predict(models::Bundle& bundle, const PredictOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.blind && options.shuffled) throw UsageError("predict: blind and shuffled exclude each other");
  if (options.form != "single_turn" && options.form != "multi_turn") {
    throw UsageError(str("predict: form \"", options.form, "\": expected single_turn or multi_turn"));
  }
  const auto items = list_items(bundle.taxonomy, options);
  data::EncodeConfig encode;
  encode.chat_template = bundle.model->config().chat_template;
  const vision::Tiling tiling = bundle.model->config().tiling();
  GenerateOptions generation;
  generation.sampling = options.sampling;
  generation.end_token = data::end_of_turn_id(bundle.tokenizer, encode);

  std::map<RowKey, Answer> general, suggestion, regions;
  PredictReport report;
  Progress progress(options.blind ? "predict (blind)" : options.shuffled ? "predict (shuffled)" : "predict",
                    static_cast<int64_t>(items.size()), "answers");
  for (size_t begin = 0; begin < items.size(); begin += static_cast<size_t>(options.batch)) {
    throw_if_stopped();
    const size_t end = std::min(items.size(), begin + static_cast<size_t>(options.batch));
    std::vector<Prompt> prompts;
    for (size_t i = begin; i < end; ++i) {
      const auto picture = options.blind ? vision::blank_picture(bundle.preprocess, tiling)
                                         : vision::load_picture(options.root / items[i].image, bundle.preprocess, tiling);
      prompts.push_back({data::encode_prompt(items[i].question, bundle.tokenizer, encode, picture.layout.rows()), {picture}});
      report.prompt_tokens += static_cast<int64_t>(prompts.back().tokens.size());
      ++report.image_encodings;
    }
    const auto answers = generate(*bundle.model, prompts, generation);
    for (size_t i = begin; i < end; ++i) {
      const auto& answer = answers[i - begin];
      const std::string text = bundle.tokenizer.decode(answer.tokens);
      const auto tokens = static_cast<int64_t>(answer.tokens.size());
      report.generated_tokens += tokens;
      report.decoder_passes += tokens + (answer.finished ? 1 : 0);
      ++report.answers;
      if (!answer.finished) ++report.unfinished;
      if (items[i].task == coda::kTasks[0]) {
        general[{items[i].scene, ""}] = {without_headers(text, bundle.taxonomy), ""};
        ++report.images;
      } else if (items[i].task == coda::kTasks[2]) {
        suggestion[{items[i].scene, ""}] = {without_headers(text, bundle.taxonomy), ""};
      } else if (items[i].region.empty()) {
        const auto sliced = task_answers(text, bundle.taxonomy);
        general[{items[i].scene, ""}] = {sliced.general_perception, ""};
        suggestion[{items[i].scene, ""}] = {sliced.driving_suggestion, ""};
        ++report.images;
      } else {
        regions[{items[i].scene, items[i].region}] = {without_headers(text, bundle.taxonomy), items[i].category};
        ++report.regions;
      }
    }
    progress.advance(static_cast<int64_t>(end - begin));
  }
  coda::write_rows(coda::answer_file(options.out, coda::kTasks[0]), fill_rows(options, coda::kTasks[0], general));
  coda::write_rows(coda::answer_file(options.out, coda::kTasks[1]), fill_rows(options, coda::kTasks[1], regions));
  coda::write_rows(coda::answer_file(options.out, coda::kTasks[2]), fill_rows(options, coda::kTasks[2], suggestion));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  save_json(options.out / "predict.json",
            {{"split", options.split}, {"form", options.form}, {"blind", options.blind},
             {"shuffled_images", options.shuffled},
             {"shuffle_seed", options.shuffled ? Json(options.shuffle_seed) : Json()},
             {"oracle_category", options.oracle_category}, {"images", report.images}, {"regions", report.regions},
             {"answers", report.answers}, {"unfinished_answers", report.unfinished},
             {"image_encodings", report.image_encodings}, {"prompt_tokens", report.prompt_tokens},
             {"generated_tokens", report.generated_tokens}, {"decoder_passes", report.decoder_passes},
             {"seconds", report.seconds}, {"sampling", to_json_config(options.sampling)}});
  if (report.unfinished > 0) {
    log::warn(report.unfinished, " answers were cut at max_new_tokens = ", options.sampling.max_new_tokens);
  }
  return report;
}

}  // namespace mose::infer
