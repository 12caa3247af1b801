// Texts and folders that the tokenizer tests share.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "mose/core/random.h"
#include "mose/text/tokenizer.h"

namespace mose::text {

// A folder of its own, removed at the end of the test.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() /
              ("mose_text_" + std::to_string(::getpid()) + "_" + name)) {
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Mostly ASCII, the rest from all of Unicode.
std::string random_text(RandomStream& random, int64_t most_code_points);
// Sentences about driving with some invented words.
std::vector<std::string> driving_texts(int64_t count, int64_t words, uint64_t seed = 1);
// A small byte-level BPE of driving_texts with kSpecialTokens.
const Tokenizer& small_tokenizer();
extern const std::vector<std::string> kSpecialTokens;

}  // namespace mose::text
