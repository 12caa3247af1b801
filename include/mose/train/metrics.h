// What a run writes down: metrics.jsonl and TensorBoard events.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>

#include "mose/core/json.h"

namespace mose::train {

class TensorBoardWriter;

class Metrics {
 public:
  // Drops lines of metrics.jsonl beyond `step`, which a killed run may have written.
  Metrics(const std::filesystem::path& run, int64_t step);
  ~Metrics();
  // `line` must hold "step"; its numbers also become TensorBoard scalars under "<prefix>/<key>".
  void write(const Json& line, const std::string& prefix);

 private:
  std::filesystem::path file_;
  std::ofstream out_;
  std::unique_ptr<TensorBoardWriter> board_;
};

}  // namespace mose::train
