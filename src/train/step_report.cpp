#include "train/step_report.h"

#include <algorithm>

#include "mose/core/strings.h"

namespace mose::train {
namespace {

double number(const torch::Tensor& value) { return value.defined() ? value.item<double>() : 0.0; }

}  // namespace

void describe(Json& line, const LossReport& report, const StepWeights& weights) {
  line["loss"] = number(report.total);
  if (weights.lm != 0) {
    line["loss_lm"] = number(report.lm);
    const char* names[] = {"loss_describe", "loss_reason", "loss_plan"};
    for (size_t g = 0; g < 3; ++g) {
      const double rows = number(report.segment_rows[g]);
      if (rows > 0) line[names[g]] = number(report.segment_sum[g]) / rows;
    }
  }
  if (weights.skill != 0) line["loss_skill"] = number(report.skill);
  if (weights.stage != 0) line["loss_stage"] = number(report.stage);
  if (weights.balance != 0) line["loss_balance"] = number(report.balance);
  if (weights.z != 0) line["loss_z"] = number(report.z);
  if (weights.region != 0) line["loss_region"] = number(report.region);
  if (weights.words != 0) line["loss_words"] = number(report.words);
}

void describe_routing(Json& line, const Json& routing) {
  for (const char* key : {"stage_accuracy", "skill_accuracy", "assigned_share"}) {
    if (!routing.at(key).is_null()) line[key] = routing[key];
  }
  Json loads = Json::array();
  double uneven = 0;
  int64_t dropped = 0;
  for (const auto& layer : routing.at("layers")) {
    const auto load = layer.at("expert_load").get<std::vector<double>>();
    uneven += *std::max_element(load.begin(), load.end()) * static_cast<double>(load.size());
    dropped += layer.at("dropped").get<int64_t>();
    loads.push_back(load);
  }
  line["expert_load"] = loads;
  line["load_of_busiest"] = uneven / static_cast<double>(loads.size());  // times an even share
  line["dropped"] = dropped;
}

std::string progress_note(const Json& line) {
  std::string note = str("loss ", fixed(line.at("loss").get<double>(), 3));
  std::string segments;
  const std::pair<const char*, const char*> parts[] = {
      {"D", "loss_describe"}, {"R", "loss_reason"}, {"P", "loss_plan"}};
  for (const auto& [letter, key] : parts) {
    if (line.contains(key)) segments += str(segments.empty() ? "" : " ", letter, " ", fixed(line[key].get<double>(), 2));
  }
  if (!segments.empty()) note += " (" + segments + ")";
  for (const auto& [name, key] : {std::pair("region", "loss_region"), std::pair("words", "loss_words")}) {
    if (line.contains(key)) note += str(", ", name, " ", fixed(line[key].get<double>(), 2));
  }
  if (line.contains("loss_skill")) note += str(", skill ", fixed(line["loss_skill"].get<double>(), 2));
  return note;
}

}  // namespace mose::train
