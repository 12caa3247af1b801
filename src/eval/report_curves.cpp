// Training curves from the runs' metrics.jsonl.
#include <algorithm>
#include <cmath>
#include <map>

#include "eval/report_parts.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::eval::report {
namespace {

namespace fs = std::filesystem;

// stage -> key -> points over steps
using Curves = std::map<std::string, std::map<std::string, std::vector<Point>>>;

struct Runs {
  Curves curves;
  std::vector<std::string> stages;  // in the order they were run
};

Runs read_runs(const ArmSpec& arm) {
  Runs runs;
  for (const std::string& dir : arm.runs) {
    const fs::path file = fs::path(dir) / "metrics.jsonl";
    std::string current;
    double last = 0, offset = 0;
    for_each_line(file, [&](const std::string& text, int64_t line) {
      const std::string where = str(file.string(), ":", line);
      const Json json = parse_json(text, where);
      const double step = json_number(json, "step", where);
      const std::string stage = json_string(json, "stage", where);
      json_at(json, "loss", where);
      if (stage != current) {
        // Steps count on over the stages of a run; a curve starts where its stage does.
        offset = step > last ? last : 0;
        current = stage;
      }
      last = step;
      if (!runs.curves.count(stage)) runs.stages.push_back(stage);
      auto& curves = runs.curves[stage];
      // Lines of a validation lie between those of training.
      const auto validation = json.find("validation");
      const std::string prefix =
          validation != json.end() && *validation == true ? "validation_" : "";
      for (const auto& [key, value] : json.items()) {
        if (key.rfind("loss", 0) == 0 && value.is_number() && std::isfinite(value.get<double>())) {
          curves[prefix + key].push_back({step - offset, value.get<double>()});
        }
      }
    });
  }
  return runs;
}

std::string colour(const Arm& arm) {
  return str("var(--arm", arm.index % 6, ")");
}

std::string panel(const std::string& title, const std::vector<Series>& series) {
  const std::string chart = line_chart(title, "step of the stage", series);
  if (chart.empty()) return "";
  return str("<div class=\"panel\"><h4>", html_escape(title), "</h4>", chart, "</div>\n");
}

// One line an arm: `key` during one stage.
std::string stage_panel(const std::string& title, const std::string& key, const std::string& stage,
                        const std::vector<Arm>& arms, const std::vector<Runs>& runs) {
  std::vector<Series> series;
  for (size_t i = 0; i < arms.size(); ++i) {
    const auto curves = runs[i].curves.find(stage);
    if (curves == runs[i].curves.end()) continue;
    const auto it = curves->second.find(key);
    if (it != curves->second.end()) series.push_back({arms[i].label, colour(arms[i]), it->second});
  }
  return panel(title, series);
}

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

std::string group(const std::string& title, const std::string& panels) {
  if (panels.empty()) return "";
  return str("<h3>", title, "</h3>\n<div class=\"panels\">\n", panels, "</div>\n");
}

}  // namespace

std::string curve_section(const std::vector<Arm>& arms) {
  std::vector<Runs> runs;
  std::vector<std::string> stages;
  std::string legend;
  for (const Arm& arm : arms) {
    runs.push_back(read_runs(*arm.spec));
    if (!runs.back().stages.empty()) legend += arm_tag(arm);
    for (const std::string& stage : runs.back().stages) {
      if (std::find(stages.begin(), stages.end(), stage) == stages.end()) stages.push_back(stage);
    }
  }
  if (stages.empty()) return "";

  std::string by_stage, segments, others;
  for (const std::string& stage : stages) {
    const std::string name = spoken(stage);
    by_stage += stage_panel(capital(name), "loss", stage, arms, runs);
    by_stage +=
        stage_panel(capital(name) + ", held-out samples", "validation_loss", stage, arms, runs);
    for (const auto& [title, key] : {std::pair{"Skill labels, ", "loss_skill"},
                                     {"Stage labels, ", "loss_stage"},
                                     {"Load balance, ", "loss_balance"},
                                     {"Region cue, ", "loss_region"}}) {
      others += stage_panel(title + name, key, stage, arms, runs);
    }
    // The parts of the answer are shown for the last stage that has them.
    std::string parts;
    for (const auto& [title, key] : {std::pair{"Description, ", "loss_describe"},
                                     {"Reasoning, ", "loss_reason"},
                                     {"Plan, ", "loss_plan"}}) {
      parts += stage_panel(title + name, key, stage, arms, runs);
    }
    if (!parts.empty()) segments = parts;
  }
  return str(
      "<section id=\"training\"><h2>Training</h2>\n<p class=\"sub\">Each line joins means over "
      "neighbouring steps; hover for values.</p>\n<div class=\"legend\">",
      legend, "</div>\n", group("Loss by training stage", by_stage),
      group("Language loss by part of the answer", segments),
      group("Router and auxiliary losses", others), "</section>\n");
}

}  // namespace mose::eval::report
