// The report's figures as plain tables.
#include "eval/report_estimates.h"
#include "eval/report_parts.h"
#include "mose/coda/answers.h"

namespace mose::eval {
namespace {

using report::Arm;
using report::number_at;

Json value_at(const Json& json, const std::vector<std::string>& path, double factor = 1) {
  const auto value = number_at(json, path);
  return value ? Json(*value * factor) : Json();
}

std::vector<Json> with_estimate(std::vector<Json> row, const std::optional<report::Estimate>& e) {
  row.push_back(e ? Json(e->value) : Json());
  row.push_back(e ? Json(e->interval.low) : Json());
  row.push_back(e ? Json(e->interval.high) : Json());
  row.push_back(e ? Json(e->items) : Json());
  return row;
}

std::optional<report::Estimate> estimate_of(const std::vector<report::Part>& parts,
                                            const std::string& kind, const std::string& name,
                                            const Arm& arm) {
  const report::Part* part = report::find_part(parts, kind, name);
  return part ? part->by_arm[arm.index] : std::nullopt;
}

Table score_rows(const std::vector<Arm>& arms, const std::vector<report::Part>& parts) {
  Table table{
      "scores",
      "Scores",
      {"system", "task", "official", "low", "high", "strict", "items", "missing", "unjudged"},
      {},
      2};
  for (const Arm& arm : arms) {
    const auto add = [&](const std::string& name, const std::optional<report::Estimate>& e,
                         const Json& from, const char* official, const char* strict) {
      table.rows.push_back({arm.label, name, value_at(from, {official}),
                            e ? Json(e->interval.low) : Json(), e ? Json(e->interval.high) : Json(),
                            value_at(from, {strict}), value_at(from, {"count"}),
                            value_at(from, {"missing"}), value_at(from, {"unjudged"})});
    };
    for (const char* task : coda::kTasks) {
      if (!arm.scores["tasks"].contains(task)) continue;
      add(task, estimate_of(parts, "task", task, arm), arm.scores["tasks"][task], "official",
          "strict");
    }
    add("final", estimate_of(parts, "final", "", arm), arm.scores, "final", "final_strict");
  }
  return table;
}

Table part_rows(const std::vector<Arm>& arms, const std::vector<report::Part>& parts) {
  Table table{"parts",
              "By region class and skill of the reference",
              {"system", "part", "name", "score", "low", "high", "items"},
              {},
              3};
  for (const report::Part& part : parts) {
    if (part.kind != "region class" && part.kind != "skill") continue;
    for (const Arm& arm : arms) {
      if (!part.by_arm[arm.index]) continue;
      table.rows.push_back(
          with_estimate({arm.label, part.kind, part.name}, part.by_arm[arm.index]));
    }
  }
  return table;
}

Table fact_rows(const std::vector<Arm>& arms) {
  Table table{"facts",
              "Facts",
              {"system", "stage", "precision", "recall", "f1", "low", "high", "blind f1"},
              {},
              2};
  for (const Arm& arm : arms) {
    for (const char* stage : {"describe", "reason", "plan"}) {
      if (!number_at(arm.scores, {"facts", stage, "f1"})) continue;
      const auto at = [&](const std::vector<std::string>& path) {
        return value_at(arm.scores, path, 100);
      };
      table.rows.push_back(
          {arm.label, stage, at({"facts", stage, "precision"}), at({"facts", stage, "recall"}),
           at({"facts", stage, "f1"}), at({"facts", stage, "f1_interval", "0"}),
           at({"facts", stage, "f1_interval", "1"}), at({"blind_facts", stage, "f1"})});
    }
  }
  return table;
}

Table text_rows(const std::vector<Arm>& arms) {
  Table table{"text",
              "Text",
              {"system", "task", "rouge_l", "bleu", "cider", "mention precision", "mention recall",
               "items"},
              {},
              2};
  for (const Arm& arm : arms) {
    for (const char* task : coda::kTasks) {
      if (!number_at(arm.scores, {"text", task, "rouge_l"})) continue;
      const auto at = [&](const char* key) { return value_at(arm.scores, {"text", task, key}); };
      const auto said = [&](const char* key) {
        return value_at(arm.scores, {"mentions", task, "classes", key}, 100);
      };
      table.rows.push_back({arm.label, task, at("rouge_l"), at("bleu"), at("cider"),
                            said("precision"), said("recall"), at("count")});
    }
  }
  return table;
}

Table run_rows(const std::vector<Arm>& arms) {
  Table table{
      "runs",
      "Runs",
      {"system", "activated parameters", "total parameters", "train seconds", "answer seconds",
       "image encodings", "decoder passes", "prompt tokens", "generated tokens"},
      {},
      1};
  const auto known = [](double value) { return value > 0 ? Json(value) : Json(); };
  for (const Arm& arm : arms) {
    std::vector<Json> row = {arm.label, known(static_cast<double>(arm.spec->activated_parameters)),
                             known(static_cast<double>(arm.spec->total_parameters)),
                             known(arm.spec->train_seconds)};
    for (const char* key :
         {"seconds", "image_encodings", "decoder_passes", "prompt_tokens", "generated_tokens"}) {
      row.push_back(value_at(arm.predict, {key}));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table published_rows(const PublishedScores& published) {
  Table table{"published",
              "Published scores",
              {"system", "general", "region", "suggestion", "final", "source", "note"},
              {},
              1};
  for (const PublishedRow& row : published.rows) {
    std::vector<Json> cells = {row.system};
    for (const auto& task : row.tasks) cells.push_back(task ? Json(*task) : Json());
    cells.insert(cells.end(), {row.final, row.source, row.note});
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace

std::vector<Table> report_tables(const ReportSpec& spec) {
  const std::vector<Arm> arms = report::load_arms(spec);
  const auto parts = report::estimate_parts(arms);
  std::vector<Table> tables = {score_rows(arms, parts), part_rows(arms, parts), fact_rows(arms),
                               text_rows(arms), run_rows(arms)};
  if (const auto published = report::published_scores(spec, arms)) {
    tables.push_back(published_rows(*published));
  }
  for (const Arm& arm : arms) {
    for (Table& table : agreement_tables(report::judges_agreement(arm))) {
      if (table.rows.size() < 2 && table.name == "raters" && table.rows[0][4] == 0) break;
      if (table.name == "disputed") continue;
      if (arms.size() > 1) table.name += " of " + arm.label;
      tables.push_back(std::move(table));
    }
  }
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  return tables;
}

}  // namespace mose::eval
