#include "infer/predict_items.h"

#include <map>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/strings.h"
#include "mose/eval/questions.h"
#include "mose/infer/controls.h"
#include "mose/skills/prepare.h"

namespace mose::infer {
namespace {

using RowKey = std::pair<std::string, std::string>;  // (scene id, region index or "")

struct RowAnswer {
  std::string text, category;  // category: region rows only
};

// The rows of a task that the split asks for, with their answers.
std::vector<coda::VqaRow> fill_rows(const PredictOptions& options, const std::string& task,
                                    const std::map<RowKey, RowAnswer>& answers) {
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

void write_answers(const skills::Taxonomy& taxonomy, const PredictOptions& options, const std::vector<Item>& items,
                   const std::vector<std::string>& answers) {
  std::map<RowKey, RowAnswer> general, suggestion, regions;
  for (size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    const std::string text = without_headers(answers[i], taxonomy);
    if (item.task == coda::kTasks[0]) {
      general[{item.scene, ""}] = {text, ""};
    } else if (item.task == coda::kTasks[2]) {
      suggestion[{item.scene, ""}] = {text, ""};
    } else if (item.region.empty()) {
      const auto sliced = task_answers(answers[i], taxonomy);
      general[{item.scene, ""}] = {sliced.general_perception, ""};
      suggestion[{item.scene, ""}] = {sliced.driving_suggestion, ""};
    } else {
      regions[{item.scene, item.region}] = {text, item.category};
    }
  }
  coda::write_rows(coda::answer_file(options.out, coda::kTasks[0]), fill_rows(options, coda::kTasks[0], general));
  coda::write_rows(coda::answer_file(options.out, coda::kTasks[1]), fill_rows(options, coda::kTasks[1], regions));
  coda::write_rows(coda::answer_file(options.out, coda::kTasks[2]), fill_rows(options, coda::kTasks[2], suggestion));
}

}  // namespace mose::infer
