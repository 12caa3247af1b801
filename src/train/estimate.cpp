#include "mose/train/estimate.h"

#include <torch/torch.h>

#include <cmath>
#include <cstdio>

#include "mose/core/error.h"
#include "mose/core/patterns.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/models/account.h"
#include "mose/models/bundle.h"
#include "mose/models/upcycle.h"
#include "mose/nn/init.h"
#include "mose/vision/image_layout.h"
#include "train/flops.h"

namespace mose::train {
namespace {

namespace fs = std::filesystem;

// The model's shapes; no weight is made.
std::shared_ptr<models::VisionLanguageModel> outline(const models::Config& config, const skills::Taxonomy& taxonomy) {
  const nn::InitGuard meta(nn::Init::kMeta);
  return models::make_model(config, 1, &taxonomy);
}

skills::Taxonomy taxonomy_of(const Recipe& recipe) {
  if (!recipe.init_from.empty()) return skills::Taxonomy::load(fs::path(recipe.init_from) / "skills.json");
  return skills::Taxonomy::load(recipe.data.taxonomy.empty() ? resource("skills/driving.json") : fs::path(recipe.data.taxonomy));
}

// What one sample holds.
struct SampleSize {
  double rows = 0, text = 0, tiles = 0;
};

SampleSize sample_size(const models::Config& config, const Recipe& recipe, const EstimateOptions& options) {
  const auto layout = vision::layout_image(models::kTypicalImage, config.tiling());
  const int64_t rows = options.rows > 0 ? options.rows : recipe.data.encode.max_tokens;
  if (rows <= layout.rows()) {
    throw UsageError(str("estimate: ", rows, " rows a sample: expected more than the ", layout.rows(), " of its image"));
  }
  return {static_cast<double>(rows), static_cast<double>(rows - layout.rows()), static_cast<double>(layout.tiles())};
}

}  // namespace

Json estimate(const Recipe& recipe, const EstimateOptions& options) {
  if (recipe.peak_teraflops <= 0) {
    throw UsageError("estimate: peak_teraflops is 0; give what one device multiplies in a second, for example --set peak_teraflops=989 "
                     "(an H100 in bfloat16)");
  }
  const auto taxonomy = taxonomy_of(recipe);
  models::Config config = recipe.init_from.empty() ? recipe.model : models::load_header(recipe.init_from).config;
  const SampleSize size = sample_size(config, recipe, options);
  const double speed = static_cast<double>(options.processes) * recipe.peak_teraflops * 1e12 * options.share;
  double total = 0;
  Json stages = Json::array();
  auto model = outline(config, taxonomy);
  for (const auto& stage : recipe.stages) {
    if (stage.upcycle != "none") {
      if (config.language.moe) throw UsageError(str("stage ", stage.name, ": upcycle = ", stage.upcycle, " of a model that is sparse already"));
      config = stage.upcycle == "sparse" ? models::upcycled(config, recipe.moe) : models::widened(config, recipe.moe);
      model = outline(config, taxonomy);
    }
    if (stage.kind == "router" && !model->sparse()) throw UsageError(str("stage ", stage.name, ": a dense model has no routers; set upcycle to sparse"));
    const bool cached = stage.kind == "router" && stage.router_form == "cached";
    const auto patterns = trainable_patterns(stage);
    for (auto& item : model->named_parameters()) item.value().set_requires_grad(!cached && chosen(item.key(), patterns));
    const StepFlops cost = step_flops(*model);
    const double samples = cached ? std::ceil(static_cast<double>(stage.cache_tokens) / size.text)
                                  : static_cast<double>(stage.steps) * static_cast<double>(recipe.data.loader.batch_samples);
    const double flops = samples * (cost.row * size.rows + cost.tile * size.tiles + (cached ? 0 : cost.target * size.text));
    total += flops;
    stages.push_back({{"name", stage.name}, {"steps", stage.steps}, {"samples", samples}, {"flops", flops}, {"seconds", flops / speed}});
  }
  Json out{{"assumed", {{"processes", options.processes}, {"peak_teraflops", recipe.peak_teraflops}, {"share", options.share},
                        {"sample_rows", size.rows}, {"image_rows", size.rows - size.text}}},
           {"stages", stages}, {"flops", total}, {"seconds", total / speed},
           {"device_hours", total / speed / 3600 * static_cast<double>(options.processes)}};
  if (options.price > 0) {
    out["assumed"]["price"] = options.price;
    out["cost"] = out["device_hours"].get<double>() * options.price;
  }
  return out;
}

std::string estimate_table(const Json& estimate) {
  std::string out;
  char line[160];
  const auto row = [&](const std::string& name, const std::string& samples, double flops, double seconds) {
    std::snprintf(line, sizeof line, "%-16s %12s %12.2f %14s\n", name.c_str(), samples.c_str(), flops / 1e15, human_seconds(seconds).c_str());
    out += line;
  };
  std::snprintf(line, sizeof line, "%-16s %12s %12s %14s\n", "stage", "samples", "PFLOP", "time");
  out += line;
  for (const auto& stage : estimate.at("stages")) {
    row(stage.at("name"), str(stage.at("samples").get<int64_t>()), stage.at("flops"), stage.at("seconds"));
  }
  row("together", "", estimate.at("flops"), estimate.at("seconds"));
  const Json& assumed = estimate.at("assumed");
  out += str("\nreckoned, not measured: ", assumed["processes"].get<int64_t>(), " devices of ", assumed["peak_teraflops"].get<double>(),
             " TFLOP/s at a share of ", assumed["share"].get<double>(), ", ", assumed["sample_rows"].get<int64_t>(), " rows a sample (",
             assumed["image_rows"].get<int64_t>(), " of its image); ", fixed(estimate.at("device_hours"), 1), " device hours");
  if (estimate.contains("cost")) out += str(", ", fixed(estimate["cost"], 0), " at ", assumed["price"].get<double>(), " an hour");
  return out + "\n";
}

}  // namespace mose::train
