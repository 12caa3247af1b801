#include "mose/coda/answers.h"

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"

namespace mose::coda {

std::vector<VqaRow> read_rows(const std::filesystem::path& file) {
  std::vector<VqaRow> rows;
  for_each_line(file, [&](const std::string& text, int64_t line) {
    if (trim(text).empty()) return;
    const std::string where = str(file.string(), ":", line);
    const Json json = parse_json(text, where);
    VqaRow row;
    row.question_id = json_int(json, "question_id", where);
    row.image = json_string(json, "image", where);
    // The questions of the test split come without an answer.
    if (json.contains("question")) row.question = json_string(json, "question", where);
    if (json.contains("answer")) row.answer = json_string(json, "answer", where);
    if (json.contains("label_name")) row.label_name = json_string(json, "label_name", where);
    rows.push_back(std::move(row));
  });
  return rows;
}

void write_rows(const std::filesystem::path& file, const std::vector<VqaRow>& rows) {
  AtomicFile out(file);
  for (const VqaRow& row : rows) {
    Json json = {{"question_id", row.question_id},
                 {"image", row.image},
                 {"question", row.question},
                 {"answer", row.answer}};
    if (!row.label_name.empty()) json["label_name"] = row.label_name;
    // A model may emit broken UTF-8; the row must still be readable.
    out.write(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  out.commit();
}

std::filesystem::path answer_file(const std::filesystem::path& dir, const std::string& task) {
  if (std::find(std::begin(kTasks), std::end(kTasks), task) == std::end(kTasks)) {
    throw UsageError(str("task \"", task, "\": expected ", kTasks[0], ", ", kTasks[1], " or ",
                         kTasks[2]));
  }
  return dir / (task + "_answer.jsonl");
}

}  // namespace mose::coda
