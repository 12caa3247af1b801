// What the leading judge gave: the summary beside published scores, and its parts.
#include <algorithm>
#include <cmath>

#include "eval/report_estimates.h"
#include "mose/coda/answers.h"
#include "mose/core/strings.h"
#include "mose/eval/published.h"

namespace mose::eval::report {
namespace {

const char* const kTaskTitles[3] = {"General", "Region", "Suggestion"};

std::string interval_text(const Interval& interval) {
  return str("<span class=\"pm\">", fixed(interval.low, 1), "&ndash;", fixed(interval.high, 1),
             "</span>");
}

// A cell that the page's script sorts by `value`.
std::string cell(const std::optional<double>& value, const std::string& shown,
                 const std::string& classes = "") {
  return str("<td", classes.empty() ? "" : str(" class=\"", classes, "\""), " data-v=\"",
             value ? fixed(*value, 6) : "", "\">", shown, "</td>");
}

std::string score_cell(const std::optional<double>& value, const Estimate* estimate) {
  std::string shown = number(value);
  if (estimate && estimate->items > 1) shown += interval_text(estimate->interval);
  return cell(value, shown);
}

const Estimate* estimate_of(const std::vector<Part>& parts, const std::string& kind,
                            const std::string& name, size_t arm) {
  const Part* part = find_part(parts, kind, name);
  return part && part->by_arm[arm] ? &*part->by_arm[arm] : nullptr;
}

// Sums over the tasks of "missing" or "unjudged".
double sum_of(const Arm& arm, const char* key) {
  double sum = 0;
  for (const auto& [name, task] : arm.scores["tasks"].items()) {
    sum += number_at(task, {key}).value_or(0);
  }
  return sum;
}

// The columns that are left out where they would say nothing.
struct Columns {
  bool missing = false, unjudged = false, activated = false, seconds = false;
  explicit Columns(const std::vector<Arm>& arms) {
    for (const Arm& arm : arms) {
      missing |= sum_of(arm, "missing") > 0;
      unjudged |= sum_of(arm, "unjudged") > 0;
      activated |= arm.spec->activated_parameters > 0;
      seconds |= number_at(arm.predict, {"seconds"}).has_value();
    }
  }
  int count() const { return 2 * missing + unjudged + activated + seconds; }
  std::string heads() const {
    return str(missing ? "<th>strict</th><th>missing</th>" : "",
               unjudged ? "<th>unjudged</th>" : "", activated ? "<th>activated</th>" : "",
               seconds ? "<th>answered in</th>" : "");
  }
};

std::string arm_row(const Arm& arm, const std::vector<Part>& parts, const Columns& columns) {
  std::string cells;
  for (const char* task : coda::kTasks) {
    cells += score_cell(number_at(arm.scores, {"tasks", task, "official"}),
                        estimate_of(parts, "task", task, arm.index));
  }
  cells += score_cell(number_at(arm.scores, {"final"}), estimate_of(parts, "final", "", arm.index));
  if (columns.missing) {
    const auto strict = number_at(arm.scores, {"final_strict"});
    const double missing = sum_of(arm, "missing");
    cells += cell(strict, number(strict), "soft") + cell(missing, fixed(missing, 0), "soft");
  }
  if (columns.unjudged) {
    const double unjudged = sum_of(arm, "unjudged");
    cells += cell(unjudged, fixed(unjudged, 0), "soft");
  }
  if (columns.activated) {
    const double activated = static_cast<double>(arm.spec->activated_parameters);
    cells += activated > 0 ? cell(activated, human_count(activated), "soft")
                           : cell(std::nullopt, "&ndash;", "soft");
  }
  if (columns.seconds) {
    const auto seconds = number_at(arm.predict, {"seconds"});
    cells += cell(seconds, seconds ? human_seconds(*seconds) : "&ndash;", "soft");
  }
  return str("<tr><th>", arm_tag(arm), "</th>", cells, "</tr>\n");
}

std::string published_row(const PublishedRow& row, int empty_cells) {
  std::string cells;
  for (const auto& task : row.tasks) cells += cell(task, number(task));
  cells += cell(row.final, fixed(row.final, 1));
  for (int i = 0; i < empty_cells; ++i) cells += cell(std::nullopt, "", "soft");
  return str("<tr class=\"published\"><th>", html_escape(row.system), "<span class=\"pm\">",
             html_escape(row.note), "</span></th>", cells, "</tr>\n");
}

// Whether the leading arm's scores compare with them, what they are, and where each is from.
std::string sources(const PublishedScores& published, const Json& scores) {
  std::string out;
  for (const PublishedRow& row : published.rows) {
    out += str("<li><b>", html_escape(row.system), "</b>: ", html_escape(row.source), ", ",
               html_escape(row.where), "; ", html_escape(row.note), "</li>\n");
  }
  const std::string compares =
      scores.contains("comparability") && scores["comparability"].is_string()
          ? scores["comparability"].get<std::string>() + " "
          : "";
  return str("<p class=\"sub\"><b>About the published rows.</b> ", html_escape(compares),
             html_escape(published.about),
             "</p>\n<details><summary>Sources of the published rows</summary><ul class=\"sub\">\n",
             out, "</ul></details>\n");
}

std::string part_rows(const std::vector<Arm>& arms, const std::vector<Part>& parts,
                      const std::string& kind) {
  std::string body;
  for (const Part& part : parts) {
    if (part.kind != kind) continue;
    int64_t items = 0;
    std::string cells;
    for (size_t i = 0; i < arms.size(); ++i) {
      const auto& e = part.by_arm[i];
      if (!e) {
        cells += cell(std::nullopt, "&ndash;");
        continue;
      }
      items = std::max(items, e->items);
      cells += str("<td class=\"tint\" data-v=\"", fixed(e->value, 6),
                   "\" style=\"--v:", fixed(e->value / 100, 3), "\"><span>", fixed(e->value, 1),
                   e->items > 1 ? interval_text(e->interval) : "", "</span></td>");
    }
    body += str("<tr><th>", html_escape(spoken(part.name)), "</th>",
                cell(static_cast<double>(items), std::to_string(items), "soft"), cells, "</tr>\n");
  }
  return body;
}

}  // namespace

std::string judge_summary(const std::vector<Arm>& arms, const std::vector<Part>& parts,
                          const PublishedScores* published) {
  std::string rows, head;
  const Columns columns(arms);
  for (const Arm& arm : arms) rows += arm_row(arm, parts, columns);
  if (published) {
    for (const PublishedRow& row : published->rows) rows += published_row(row, columns.count());
  }
  for (const char* title : kTaskTitles) head += str("<th>", title, "</th>");
  const Json& scores = arms.front().scores;
  const std::string judge = scores.contains("judge") && scores["judge"].is_string()
                                ? scores["judge"].get<std::string>()
                                : "";
  return str("<p class=\"sub\">Mean score, 0 to 100, by the judge <b>", html_escape(judge),
             "</b> over the answers that are there; Final is the mean of the three tasks",
             columns.missing ? ", strict counts a missing answer as the lowest score" : "",
             ". Small figures are 95&nbsp;% bootstrap "
             "intervals, drawn by scene.</p>\n<div class=\"scroll\"><table class=\"sortable\" "
             "id=\"summary\"><thead><tr><th>System</th>",
             head, "<th>Final</th>", columns.heads(), "</tr></thead>\n<tbody>\n", rows,
             "</tbody></table></div>\n", published ? sources(*published, arms.front().scores) : "");
}

std::string part_tables(const std::vector<Arm>& arms, const std::vector<Part>& parts) {
  std::string head, out;
  for (const Arm& arm : arms) head += str("<th>", arm_tag(arm), "</th>");
  for (const auto& [kind, title, about] :
       {std::tuple<const char*, const char*, const char*>{"region class", "By region class",
                                                          "The seven classes of the region task."},
        {"skill", "By skill of the reference",
         "Items whose reference text exercises the skill, by the rule annotator; an item counts "
         "for each of its skills."}}) {
    const std::string rows = part_rows(arms, parts, kind);
    if (rows.empty()) continue;
    out += str("<h3>", title, "</h3><p class=\"sub\">", about,
               "</p>\n<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>",
               kind == std::string("skill") ? "Skill" : "Class", "</th><th>items</th>", head,
               "</tr></thead><tbody>\n", rows, "</tbody></table></div>\n");
  }
  return out;
}

}  // namespace mose::eval::report
