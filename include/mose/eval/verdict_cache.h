// Verdicts that were paid for, kept in one SQLite file. Each is stored as it arrives, so that a run
// that ends early, by whatever cause, loses only what was still on its way. Several processes may
// use one file at once; it must lie on a local disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "mose/eval/judge.h"

namespace mose::eval {

struct StoredVerdict {
  std::optional<double> score;  // 0 to 100; nothing when the reply held no readable rating
  std::string reply;            // the judge's words
  int64_t prompt_tokens = 0, completion_tokens = 0;  // as the server counted them
};

// SHA-256 of model, protocol, question (task, scene, region), reference, prediction and repeat: all
// that the verdict depends on. The server's address does not count.
std::string verdict_key(const std::string& model, const std::string& protocol_hash,
                        const JudgeRequest& request);

class VerdictCache {
 public:
  // Opens or makes the file. DataError when it is no such cache or is damaged, Error when it cannot
  // be opened.
  explicit VerdictCache(const std::filesystem::path& file);
  ~VerdictCache();
  VerdictCache(const VerdictCache&) = delete;
  VerdictCache& operator=(const VerdictCache&) = delete;

  std::optional<StoredVerdict> find(const std::string& key) const;
  // Durable when it returns, against the end of the process. Of two verdicts for one key the first
  // readable one stays. Model, protocol and item are kept beside it for people who look into the
  // file.
  void store(const std::string& key, const std::string& model, const std::string& protocol_hash,
             const JudgeRequest& request, const StoredVerdict& verdict);
  int64_t size() const;
  // Mean completion tokens of this model's verdicts, over all protocols; nothing when it has none.
  std::optional<double> mean_completion_tokens(const std::string& model) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::eval
