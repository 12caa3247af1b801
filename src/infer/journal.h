// The answers of a prediction so far, one JSON object a line, so that a call that was stopped goes on where it was.
//
//   {"prediction": {what the answers follow from}}
//   {"item": 12, "tokens": [...], "finished": true, "prompt_tokens": 93, ...}
//
// Lines are written and flushed to disk by a thread, all that have come meanwhile at once. A line that a crash cut is left out.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mose/core/json.h"

namespace mose::infer {

struct StoredAnswer {
  size_t item = 0;
  std::vector<int64_t> tokens;
  bool finished = false;
  int64_t prompt_tokens = 0, shared_tokens = 0, image_encodings = 0;
  double seconds = 0;  // since the prediction began, earlier calls included
};

class Journal {
 public:
  // Reads what is there. UsageError where it belongs to another prediction, and names the keys that differ; DataError for a
  // malformed line. Nothing is written before append().
  Journal(std::filesystem::path file, Json prediction, size_t items);
  ~Journal();  // writes what has come
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  const std::vector<StoredAnswer>& stored() const { return stored_; }  // by earlier calls
  // Error when an earlier line could not be written (a full disk).
  void append(const StoredAnswer& answer);
  void close();   // when all lines are on the disk; Error as append
  void remove();  // the file, which is closed first

 private:
  void read();
  void open();
  void work();
  void rethrow();

  const std::filesystem::path file_;
  const Json prediction_;
  const size_t items_;
  std::vector<StoredAnswer> stored_;
  size_t whole_bytes_ = 0;  // of the file, up to its last whole line
  bool torn_ = false;       // something follows
  int descriptor_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string waiting_;
  bool closing_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace mose::infer
