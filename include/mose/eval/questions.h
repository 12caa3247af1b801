// The questions of a split with their reference answers, and the answers that belong to them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mose::eval {

struct Question {
  std::string task;          // one of coda::kTasks
  std::string id;            // the scene: "val_0001"
  std::string region;        // region rows: "1", "2", ...; else ""
  int64_t question_id = -1;  // -1 when the question was derived from an annotation
  std::string image;         // relative to the root
  std::string reference;     // "" when the set withholds it
  std::string region_class;  // region rows: one of the seven classes, "" for an unknown category
  std::string category;      // region rows: the category as annotated, "" when it is not known
};

// "val/images/0001.jpg" -> {"val_0001", ""}; "val/images_w_boxes/0001_object_2.jpg" ->
// {"val_0001", "2"}. DataError naming `where` for another form.
struct ImageName {
  std::string id, region;
};
ImageName parse_image_name(const std::string& image, const std::string& where);

// The questions of one task: from CODA-LM/<Split>/vqa_anno/<task>.jsonl when it is there, else one
// for each annotation (or annotated region). DataError on a bad file and when two questions of the
// file have the same question_id and image.
std::vector<Question> load_questions(const std::filesystem::path& root, const std::string& split,
                                     const std::string& task);
// Those of all tasks, in the order of coda::kTasks.
std::array<std::vector<Question>, 3> load_all_questions(const std::filesystem::path& root,
                                                        const std::string& split);

// The answers of DIR/<task>_answer.jsonl to `questions`, matched by question_id and image (by image
// alone for derived questions), in any order.
struct TaskAnswers {
  std::vector<std::optional<std::string>> answers;  // one a question; nothing when missing
  std::vector<std::string> missing, empty;          // "val_0001", "val_0001 region 2"
  std::vector<std::string> duplicate;               // answered more than once; the first counts
  std::vector<std::string> unknown;                 // "question_id 7, image ...": no such question
};
// A file that is not there leaves every answer missing. DataError names file and line.
TaskAnswers load_answers(const std::filesystem::path& dir, const std::string& task,
                         const std::vector<Question>& questions);

// "val_0001" or "val_0001 region 2".
std::string item_name(const Question& question);

// DataError unless `dir` holds at least one of the three answer files.
void check_answers(const std::filesystem::path& dir);

}  // namespace mose::eval
