// A few steps of every stage, to tell what the whole run will take.
#include <algorithm>
#include <optional>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/train/trainer.h"

namespace mose::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSteps = 3;          // the first warms up, the others are timed
constexpr int64_t kCachedRows = 4096;  // rows of a cached router stage

struct Times {
  std::vector<double> ends;            // of the stage's steps
  double cached_rows = 0, cached_seconds = 0;
  double loss = 0;
  std::optional<double> share_of_peak;  // of the last step
};

std::map<std::string, Times> read_times(const fs::path& metrics) {
  std::map<std::string, Times> times;
  for_each_line(metrics, [&](const std::string& line, int64_t) {
    const Json json = Json::parse(line);
    if (json.contains("validation")) return;
    Times& stage = times[json.at("stage").get<std::string>()];
    if (json.contains("cached_rows")) {
      stage.cached_rows = json["cached_rows"].get<double>();
      stage.cached_seconds = json["cached_seconds"].get<double>();
    }
    stage.ends.push_back(json.at("seconds").get<double>());
    stage.loss = json.at("loss").get<double>();
    if (json.contains("share_of_peak")) stage.share_of_peak = json["share_of_peak"].get<double>();
  });
  return times;
}

}  // namespace

Json dry_run(Recipe recipe, TrainOptions options) {
  const Recipe whole = recipe;
  recipe.log_every = 1;
  recipe.validate_every = recipe.checkpoint_every = 0;
  recipe.data.max_validation = std::min<int64_t>(recipe.data.max_validation, 8);
  for (auto& stage : recipe.stages) {
    stage.steps = std::min(stage.steps, kSteps);
    stage.cache_tokens = std::min(stage.cache_tokens, kCachedRows);
  }
  options.run = folder_path(options.run);
  options.run += ".dry";
  options.resume = false;
  options.dry = true;
  const auto world = options.world ? options.world : dist::make_communicator({});
  options.world = world;
  if (world->rank() == 0) fs::remove_all(options.run);
  world->barrier();
  train(recipe, options);
  Json report{{"processes", world->size()}, {"stages", Json::array()}};
  if (world->rank() == 0) {
    report["peak_memory_mib"] = load_json(options.run / "summary.json")["peak_memory_mib"];
    const auto times = read_times(options.run / "metrics.jsonl");
    double total = 0;
    for (const auto& stage : whole.stages) {
      const auto found = times.find(stage.name);
      if (found == times.end()) continue;  // of 0 steps
      const Times& t = found->second;
      const double step = t.ends.size() < 2 ? 0 : (t.ends.back() - t.ends.front()) / static_cast<double>(t.ends.size() - 1);
      double seconds = step * static_cast<double>(stage.steps);
      Json line{{"name", stage.name}, {"steps", stage.steps}, {"loss", t.loss}, {"seconds_per_step", step}};
      if (t.share_of_peak) line["share_of_peak"] = *t.share_of_peak;
      if (t.cached_rows > 0) {
        line["seconds_to_cache"] = t.cached_seconds * static_cast<double>(stage.cache_tokens) / t.cached_rows;
        seconds += line["seconds_to_cache"].get<double>();
      }
      line["seconds"] = seconds;
      total += seconds;
      report["stages"].push_back(line);
    }
    report["seconds"] = total;
    fs::remove_all(options.run);
  }
  world->barrier();
  return report;
}

}  // namespace mose::train
