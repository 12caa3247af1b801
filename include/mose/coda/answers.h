// CODA-LM's question and answer files: one JSON object a line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mose::coda {

inline constexpr const char* kTasks[3] = {"general_perception", "region_perception",
                                          "driving_suggestion"};

// A row of <task>.jsonl (with the reference answer) or of <task>_answer.jsonl (with a prediction).
struct VqaRow {
  int64_t question_id = 0;
  std::string image;       // relative to the root
  std::string question;
  std::string answer;
  std::string label_name;  // region rows only: the category name
};

// DataError names file, line and field.
std::vector<VqaRow> read_rows(const std::filesystem::path& file);
// Written beside and renamed.
void write_rows(const std::filesystem::path& file, const std::vector<VqaRow>& rows);
// DIR/general_perception_answer.jsonl and so on.
std::filesystem::path answer_file(const std::filesystem::path& dir, const std::string& task);

}  // namespace mose::coda
