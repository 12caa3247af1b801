#include "mose/eval/submission.h"

#include <zip.h>

#include <memory>

#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"
#include "mose/eval/questions.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

void refuse(const fs::path& file, const std::vector<std::string>& list, const char* what) {
  if (list.empty()) return;
  throw DataError(str(file.string(), ": ", list.size(), " ", what, ", first: ", list.front()));
}

// The content of a task's file, once it is found to answer what is asked.
std::pair<std::string, int64_t> checked(const SubmissionOptions& options, const std::string& task) {
  const fs::path file = coda::answer_file(options.answers, task);
  const std::string content = read_file(file);
  const auto questions = load_questions(options.root, options.split, task);
  const TaskAnswers answers = load_answers(options.answers, task, questions);
  refuse(file, answers.duplicate, "questions answered twice");
  refuse(file, answers.unknown, "answers belong to no question");
  for (const auto& [list, what] : {std::pair{&answers.missing, "answers are missing"},
                                   {&answers.empty, "answers are empty"}}) {
    if (!options.incomplete) refuse(file, *list, what);
    if (!list->empty()) log::warn(file.string(), ": ", list->size(), " ", what);
  }
  const auto rows = coda::read_rows(file);
  if (task == coda::kTasks[1]) {
    for (const coda::VqaRow& row : rows) {
      if (trim(row.label_name).empty()) {
        throw DataError(str(file.string(), ": question_id ", row.question_id,
                            ": label_name: expected the object's category, found none"));
      }
    }
  }
  return {content, static_cast<int64_t>(rows.size())};
}

[[noreturn]] void fail(const std::string& what) {
  throw Error("cannot make the ZIP archive: " + what);
}

}  // namespace

std::string zip_archive(const std::vector<std::pair<std::string, std::string>>& files) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* memory = zip_source_buffer_create(nullptr, 0, 0, &error);
  if (!memory) fail(zip_error_strerror(&error));
  zip_source_keep(memory);  // outlives the archive, which frees one reference
  const std::unique_ptr<zip_source_t, decltype(&zip_source_free)> keep(memory, &zip_source_free);
  zip_t* opened = zip_open_from_source(memory, ZIP_TRUNCATE, &error);
  if (!opened) {
    zip_source_free(memory);
    fail(zip_error_strerror(&error));
  }
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(opened, &zip_discard);
  for (const auto& [name, content] : files) {
    zip_source_t* source = zip_source_buffer(opened, content.data(), content.size(), 0);
    if (!source) fail(zip_strerror(opened));
    const zip_int64_t index = zip_file_add(opened, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail(zip_strerror(opened));
    }
    // One date for all (1980-01-01, the format's first): the bytes depend on the content alone.
    if (zip_file_set_dostime(opened, static_cast<zip_uint64_t>(index), 0, 33, 0) != 0) {
      fail(zip_strerror(opened));
    }
  }
  if (zip_close(opened) != 0) fail(zip_strerror(opened));
  archive.release();

  zip_stat_t size;
  if (zip_source_stat(memory, &size) != 0 || zip_source_open(memory) != 0) {
    fail(zip_error_strerror(zip_source_error(memory)));
  }
  std::string bytes(static_cast<size_t>(size.size), '\0');
  const zip_int64_t got = zip_source_read(memory, bytes.data(), bytes.size());
  zip_source_close(memory);
  if (got != static_cast<zip_int64_t>(bytes.size())) fail("its bytes cannot be read back");
  return bytes;
}

Submission make_submission(const SubmissionOptions& options) {
  Submission out;
  std::vector<std::pair<std::string, std::string>> files;
  for (const char* task : coda::kTasks) {
    auto [content, count] = checked(options, task);
    const std::string name = coda::answer_file("", task).string();
    files.emplace_back(name, std::move(content));
    out.counts.emplace_back(name, count);
  }
  out.archive = zip_archive(files);
  return out;
}

}  // namespace mose::eval
