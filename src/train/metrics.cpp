#include "mose/train/metrics.h"

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/train/tensorboard.h"

namespace mose::train {

Metrics::Metrics(const std::filesystem::path& run, int64_t step) : file_(run / "metrics.jsonl") {
  make_directories(run);
  if (std::filesystem::is_regular_file(file_)) {
    std::string kept;
    for_each_line(file_, [&](const std::string& line, int64_t) {
      const Json json = Json::parse(line, nullptr, false);  // the last line may be half-written
      if (!json.is_discarded() && json.value("step", int64_t{0}) <= step) kept += line + "\n";
    });
    write_file(file_, step > 0 ? kept : "");
  }
  out_.open(file_, std::ios::app);
  if (!out_) throw Error(str(file_.string(), ": cannot open for writing"));
  board_ = std::make_unique<TensorBoardWriter>(run);
}

Metrics::~Metrics() = default;

void Metrics::write(const Json& line, const std::string& prefix) {
  out_ << line.dump() << '\n' << std::flush;
  if (!out_) throw Error(str(file_.string(), ": cannot write (is the disk full?)"));
  const int64_t step = line.at("step").get<int64_t>();
  for (const auto& [key, value] : line.items()) {
    if (value.is_number() && key != "step") board_->scalar(prefix + "/" + key, value.get<double>(), step);
  }
  board_->flush();
}

}  // namespace mose::train
