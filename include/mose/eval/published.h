// Scores that others published, with their sources (configs/published/coda_lm.json).
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mose::eval {

struct PublishedRow {
  std::string system;
  std::array<std::optional<double>, 3> tasks;  // in the order of coda::kTasks, 0 to 100
  double final = 0;
  std::string source, where;  // who published it, and the address without its scheme
  std::string note;           // what it compares with
};

struct PublishedScores {
  std::string about, split;
  std::vector<PublishedRow> rows;
};

// Reads {"about", "split", "sources": {id: {"text", "where"}}, "rows": [{"system", "general",
// "region", "suggestion", "final", "source": id, "note"}]}. DataError names file and key.
PublishedScores load_published(const std::filesystem::path& file);

}  // namespace mose::eval
