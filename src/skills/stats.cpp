#include "mose/skills/stats.h"

#include <algorithm>

#include "mose/core/strings.h"
#include "mose/skills/annotator.h"

namespace mose::skills {

namespace {

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// One group of labels (by stage, by skill or by rule) while samples are added.
class Group {
 public:
  explicit Group(std::vector<std::string> names) {
    for (std::string& name : names) rows_.push_back({std::move(name)});
  }
  void add(const std::vector<Span>& units, const std::vector<std::pair<size_t, const Label*>>& labels) {
    std::vector<std::vector<char>> covered(rows_.size());
    for (const auto& [row, label] : labels) {
      Coverage& to = rows_[row];
      ++to.labels;
      to.confidence += label->confidence;
      auto& marks = covered[row];
      if (marks.empty()) ++to.samples;
      marks.resize(units.size() + 1);  // never empty once the row has a label
      for (size_t u = 0; u < units.size(); ++u) {
        if (units[u].begin >= label->begin && units[u].begin < label->end) marks[u] = 1;
      }
    }
    for (size_t r = 0; r < rows_.size(); ++r) {
      rows_[r].units += std::count(covered[r].begin(), covered[r].end(), 1);
    }
  }
  std::vector<Coverage> finish() {
    for (Coverage& row : rows_) {
      if (row.labels > 0) row.confidence /= static_cast<double>(row.labels);
    }
    return std::move(rows_);
  }

 private:
  std::vector<Coverage> rows_;
};

Json coverage_json(const std::vector<Coverage>& rows, const Stats& stats) {
  Json out = Json::array();
  for (const Coverage& row : rows) {
    out.push_back({{"name", row.name},
                   {"samples", row.samples},
                   {"labels", row.labels},
                   {stats.unit, row.units},
                   {"share", share(row.units, stats.units)},
                   {"confidence", row.confidence}});
  }
  return out;
}

std::string padded(const std::string& text, size_t width, bool right) {
  const std::string space(width > text.size() ? width - text.size() : 0, ' ');
  return right ? space + text : text + space;
}

std::string table(const std::string& title, const std::vector<Coverage>& rows, const Stats& stats) {
  std::vector<std::vector<std::string>> cells = {
      {title, "samples", "labels", stats.unit, "share", "confidence"}};
  for (const Coverage& row : rows) {
    cells.push_back({row.name, str(row.samples), str(row.labels), str(row.units),
                     fixed(100 * share(row.units, stats.units), 1) + " %",
                     row.labels ? fixed(row.confidence, 2) : "-"});
  }
  std::string out;
  for (const auto& line : cells) {
    std::string text;
    for (size_t c = 0; c < line.size(); ++c) {
      size_t width = 0;
      for (const auto& other : cells) width = std::max(width, other[c].size());
      text += padded(line[c], width, c > 0) + (c + 1 < line.size() ? "  " : "");
    }
    out += text + "\n";
  }
  return out;
}

}  // namespace

Units word_units() {
  return {"words", [](const std::string& text) {
            std::vector<Span> spans;
            for (const Word& word : words(text)) spans.push_back(word.span);
            return spans;
          }};
}

Units token_units(std::shared_ptr<const text::Tokenizer> tokenizer) {
  return {"tokens", [tokenizer](const std::string& text) {
            std::vector<Span> spans;
            for (const text::TokenSpan& token : tokenizer->encode_spans(text)) {
              spans.push_back({token.begin, token.end});
            }
            return spans;
          }};
}

Stats collect_stats(const std::vector<Sample>& samples, const Taxonomy& taxonomy, const Units& units) {
  std::vector<std::string> stages, skills;
  std::vector<std::string> rules = Annotator(taxonomy).rule_ids();
  for (const Stage& stage : taxonomy.stages()) stages.push_back(stage.name);
  for (const Skill& skill : taxonomy.skills()) skills.push_back(skill.name);
  for (const Sample& sample : samples) {  // rules of another annotator
    for (const Label& label : sample.labels) {
      if (std::find(rules.begin(), rules.end(), label.rule) == rules.end()) rules.push_back(label.rule);
    }
  }
  Stats stats;
  stats.unit = units.name;
  Group by_stage(stages), by_skill(skills), by_rule(rules);
  for (const Sample& sample : samples) {
    ++stats.samples;
    ++stats.tasks[sample.form + "/" + sample.task];
    const std::vector<Span> spans = units.of(sample.answer);
    stats.units += static_cast<int64_t>(spans.size());
    std::vector<std::pair<size_t, const Label*>> stage, skill, rule;
    for (const Label& label : sample.labels) {
      stage.emplace_back(static_cast<size_t>(label.stage), &label);
      if (label.skill >= 0) skill.emplace_back(static_cast<size_t>(label.skill), &label);
      const auto at = std::find(rules.begin(), rules.end(), label.rule) - rules.begin();
      rule.emplace_back(static_cast<size_t>(at), &label);
    }
    for (const Span& span : spans) {
      bool any = false, any_skill = false;
      for (const Label& label : sample.labels) {
        if (span.begin < label.begin || span.begin >= label.end) continue;
        any = true;
        any_skill |= label.skill >= 0;
      }
      stats.with_stage += any;
      stats.with_skill += any_skill;
    }
    by_stage.add(spans, stage);
    by_skill.add(spans, skill);
    by_rule.add(spans, rule);
  }
  stats.stages = by_stage.finish();
  stats.skills = by_skill.finish();
  stats.rules = by_rule.finish();
  return stats;
}

Json stats_to_json(const Stats& stats) {
  return {{"samples", stats.samples},
          {"tasks", stats.tasks},
          {"unit", stats.unit},
          {stats.unit, stats.units},
          {"coverage", {{"stage", share(stats.with_stage, stats.units)},
                        {"skill", share(stats.with_skill, stats.units)}}},
          {"stages", coverage_json(stats.stages, stats)},
          {"skills", coverage_json(stats.skills, stats)},
          {"rules", coverage_json(stats.rules, stats)}};
}

std::string stats_to_table(const Stats& stats) {
  std::string out = str(stats.samples, " samples, ", stats.units, " ", stats.unit, "; ",
                        fixed(100 * share(stats.with_stage, stats.units), 1), " % with a stage, ",
                        fixed(100 * share(stats.with_skill, stats.units), 1), " % with a skill\n");
  for (const auto& [task, count] : stats.tasks) out += str("  ", task, ": ", count, "\n");
  out += "\n" + table("stage", stats.stages, stats);
  out += "\n" + table("skill", stats.skills, stats);
  out += "\n" + table("rule", stats.rules, stats);
  return out;
}

}  // namespace mose::skills
