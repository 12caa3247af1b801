#include "mose/eval/questions.h"

#include <algorithm>
#include <map>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

bool digits(const std::string& text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string category_of(const fs::path& root, const std::string& split, const Question& question) {
  const fs::path file = root / "CODA-LM" / coda::split_name(split) / (question.id + ".json");
  if (!fs::exists(file)) return "";
  for (const coda::Region& region : coda::load_annotation(file).regions) {
    if (region.index == question.region) return region.category_name;
  }
  return "";
}

std::vector<Question> from_rows(const fs::path& root, const std::string& split,
                                const fs::path& file, const std::string& task) {
  std::vector<Question> questions;
  std::map<std::pair<int64_t, std::string>, bool> seen;
  for (const coda::VqaRow& row : coda::read_rows(file)) {
    const std::string where = str(file.string(), ": question_id ", row.question_id);
    if (!seen.emplace(std::make_pair(row.question_id, row.image), true).second) {
      throw DataError(str(where, ", image ", row.image, ": asked twice"));
    }
    const ImageName name = parse_image_name(row.image, where);
    Question question{task, name.id, name.region, row.question_id, row.image, row.answer, ""};
    if (task == coda::kTasks[1]) {
      question.category =
          row.label_name.empty() ? category_of(root, split, question) : row.label_name;
      question.region_class = coda::region_class(question.category);
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

std::vector<coda::Annotation> load_annotations(const fs::path& root, const std::string& split) {
  std::vector<coda::Annotation> out;
  for (const fs::path& file : coda::list_annotations(root, split)) {
    out.push_back(coda::load_annotation(file));
  }
  return out;
}

std::vector<Question> from_annotations(const std::vector<coda::Annotation>& annotations,
                                       const std::string& task) {
  std::vector<Question> questions;
  for (const coda::Annotation& a : annotations) {
    const std::string image = a.image.generic_string();
    if (task == coda::kTasks[0]) {
      questions.push_back({task, a.id, "", -1, image, a.summary, ""});
    } else if (task == coda::kTasks[2]) {
      questions.push_back({task, a.id, "", -1, image, a.driving_suggestion, ""});
    } else {
      const fs::path folder = a.image.parent_path().parent_path() / "images_w_boxes";
      for (const coda::Region& region : a.regions) {
        const std::string boxed =
            str(a.image.stem().string(), "_object_", region.index, a.image.extension().string());
        questions.push_back({task, a.id, region.index, -1, (folder / boxed).generic_string(),
                             region.text, coda::region_class(region.category_name),
                             region.category_name});
      }
    }
  }
  return questions;
}

fs::path question_file(const fs::path& root, const std::string& split, const std::string& task) {
  return root / "CODA-LM" / coda::split_name(split) / "vqa_anno" / (task + ".jsonl");
}

}  // namespace

ImageName parse_image_name(const std::string& image, const std::string& where) {
  const fs::path path(image);
  const std::string folder = path.parent_path().filename().string();
  const std::string part = path.parent_path().parent_path().filename().string();
  std::string stem = path.stem().string(), region;
  bool good = !part.empty();
  if (folder == "images_w_boxes") {
    const std::string mark = "_object_";
    const size_t at = stem.find(mark);
    good = good && at != std::string::npos;
    if (good) {
      region = stem.substr(at + mark.size());
      stem.resize(at);
      good = digits(region);
    }
  } else {
    good = good && folder == "images";
  }
  if (!good || !digits(stem)) {
    throw DataError(str(where,
                        ": image: expected {val,test}/images/NNNN.jpg or "
                        "{val,test}/images_w_boxes/NNNN_object_K.jpg, found \"",
                        image, "\""));
  }
  return {part + "_" + stem, region};
}

std::vector<Question> load_questions(const fs::path& root, const std::string& split,
                                     const std::string& task) {
  const fs::path file = question_file(root, split, task);
  return fs::exists(file) ? from_rows(root, split, file, task)
                          : from_annotations(load_annotations(root, split), task);
}

std::array<std::vector<Question>, 3> load_all_questions(const fs::path& root,
                                                        const std::string& split) {
  std::array<std::vector<Question>, 3> out;
  std::optional<std::vector<coda::Annotation>> annotations;  // read once, where any task needs them
  for (size_t t = 0; t < 3; ++t) {
    const fs::path file = question_file(root, split, coda::kTasks[t]);
    if (fs::exists(file)) {
      out[t] = from_rows(root, split, file, coda::kTasks[t]);
      continue;
    }
    if (!annotations) annotations = load_annotations(root, split);
    out[t] = from_annotations(*annotations, coda::kTasks[t]);
  }
  return out;
}

TaskAnswers load_answers(const fs::path& dir, const std::string& task,
                         const std::vector<Question>& questions) {
  std::map<std::pair<int64_t, std::string>, size_t> index;
  for (size_t i = 0; i < questions.size(); ++i) {
    index[{questions[i].question_id, questions[i].image}] = i;
  }
  TaskAnswers out;
  out.answers.resize(questions.size());
  const fs::path file = coda::answer_file(dir, task);
  if (fs::exists(file)) {
    for (const coda::VqaRow& row : coda::read_rows(file)) {
      auto it = index.find({row.question_id, row.image});
      if (it == index.end()) it = index.find({-1, row.image});
      if (it == index.end()) {
        out.unknown.push_back(str("question_id ", row.question_id, ", image ", row.image));
        continue;
      }
      auto& answer = out.answers[it->second];
      if (answer) {
        out.duplicate.push_back(item_name(questions[it->second]));
      } else {
        answer = row.answer;
      }
    }
  } else {
    log::warn(file.string(), ": not there; every answer of this task counts as missing");
  }
  for (size_t i = 0; i < questions.size(); ++i) {
    if (!out.answers[i]) {
      out.missing.push_back(item_name(questions[i]));
    } else if (trim(*out.answers[i]).empty()) {
      out.empty.push_back(item_name(questions[i]));
    }
  }
  return out;
}

std::string item_name(const Question& question) {
  return question.region.empty() ? question.id : str(question.id, " region ", question.region);
}

void check_answers(const fs::path& dir) {
  for (const char* task : coda::kTasks) {
    if (fs::exists(coda::answer_file(dir, task))) return;
  }
  throw DataError(str(dir.string(),
                      ": expected at least one of general_perception_answer.jsonl, "
                      "region_perception_answer.jsonl and driving_suggestion_answer.jsonl, as "
                      "mose-infer predict writes them; found none"));
}

}  // namespace mose::eval
