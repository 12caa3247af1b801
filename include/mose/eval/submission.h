// The archive that the public CODA-LM challenge takes: the three answer files in one ZIP.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace mose::eval {

struct SubmissionOptions {
  std::filesystem::path root;     // a set in CODA-LM's layout: its questions are to be answered
  std::string split;              // Train, Val, Test or Mini
  std::filesystem::path answers;  // holds the three <task>_answer.jsonl
  bool incomplete = false;        // let missing and empty answers pass, with a warning
};

struct Submission {
  std::string archive;                                  // the bytes of the ZIP file
  std::vector<std::pair<std::string, int64_t>> counts;  // file name -> answers in it
};

// The files go in unchanged, under their names. DataError with counts and a first example when a
// file is missing, an answer is missing or empty (unless `incomplete`), comes twice or belongs to
// no question, or a region row lacks the label_name that the challenge's scripts ask for.
Submission make_submission(const SubmissionOptions& options);

// A ZIP archive of (name, content), deflated. The same content gives the same bytes.
std::string zip_archive(const std::vector<std::pair<std::string, std::string>>& files);

}  // namespace mose::eval
