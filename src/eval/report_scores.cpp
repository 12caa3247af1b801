// Headline figures and score tables.
#include <algorithm>
#include <set>

#include "eval/report_parts.h"
#include "mose/core/strings.h"

namespace mose::eval::report {
namespace {

constexpr const char* kStages[3] = {"describe", "reason", "plan"};
constexpr const char* kStageTitles[3] = {"Describe", "Reason", "Plan"};

std::optional<double> f1(const Arm& arm, const char* stage, bool blind = false) {
  return number_at(arm.scores, {blind ? "blind_facts" : "facts", stage, "f1"});
}

bool any(const std::vector<Arm>& arms, const std::vector<std::string>& path) {
  return std::any_of(arms.begin(), arms.end(),
                     [&](const Arm& arm) { return number_at(arm.scores, path).has_value(); });
}

std::string signed_number(double value) {
  return str(value < 0 ? "&minus;" : "+", fixed(value < 0 ? -value : value, 1));
}

std::string card(const std::string& what, const std::string& value, const std::string& more) {
  return str("<div class=\"card\"><div class=\"what\">", what, "</div><div class=\"value\">", value,
             "</div><div class=\"more\">", more, "</div></div>\n");
}

// One row an arm: a hollow mark for the blind run, a full one with its interval for the real one.
std::string range_panel(const std::vector<Arm>& arms, size_t stage) {
  constexpr double kWidth = 360, kRow = 43, kLeft = 8, kRight = 8, kFoot = 22;
  const auto px = [&](double share) { return kLeft + share * (kWidth - kLeft - kRight); };
  const double height = kRow * static_cast<double>(arms.size()) + kFoot;
  std::string out;
  for (int tick = 0; tick <= 4; ++tick) {
    const double x = px(tick / 4.0);
    out += str("<line class=\"grid\" x1=\"", x, "\" x2=\"", x, "\" y1=\"0\" y2=\"", height - kFoot,
               "\"/><text x=\"", x, "\" y=\"", height - 6, "\" font-size=\"12\" text-anchor=\"",
               tick == 0   ? "start"
               : tick == 4 ? "end"
                           : "middle",
               "\">", tick * 25, "</text>\n");
  }
  for (size_t i = 0; i < arms.size(); ++i) {
    const Arm& arm = arms[i];
    const auto value = f1(arm, kStages[stage]), blind = f1(arm, kStages[stage], true);
    if (!value) continue;
    const double y = kRow * static_cast<double>(i) + 29;
    const std::string colour = str("var(--arm", arm.index % 6, ")");
    out += str("<g><title>", html_escape(arm.label), ": F1 ", fixed(100 * *value, 1));
    if (blind) out += str(", blind ", fixed(100 * *blind, 1));
    out += str("</title><text class=\"ink\" x=\"", kLeft, "\" y=\"", y - 13,
               "\" font-size=\"12.5\">", html_escape(arm.label), "</text><text class=\"ink\" x=\"",
               kWidth - kRight, "\" y=\"", y - 13,
               "\" font-size=\"12.5\" font-weight=\"650\" "
               "text-anchor=\"end\">",
               fixed(100 * *value, 1), "</text>");
    if (blind) {
      out += str("<line x1=\"", px(*blind), "\" x2=\"", px(*value), "\" y1=\"", y, "\" y2=\"", y,
                 "\" style=\"stroke:", colour,
                 ";stroke-opacity:.45\" stroke-width=\"5\"/>"
                 "<circle cx=\"",
                 px(*blind), "\" cy=\"", y,
                 "\" r=\"4.5\" style=\"fill:var(--card);"
                 "stroke:",
                 colour, "\" stroke-width=\"1.8\"/>");
    }
    const auto low = number_at(arm.scores, {"facts", kStages[stage], "f1_interval", "0"});
    const auto high = number_at(arm.scores, {"facts", kStages[stage], "f1_interval", "1"});
    if (low && high) {
      out += str("<line x1=\"", px(*low), "\" x2=\"", px(*high), "\" y1=\"", y, "\" y2=\"", y,
                 "\" style=\"stroke:", colour, "\" stroke-width=\"1.6\"/>");
    }
    out += str("<circle cx=\"", px(*value), "\" cy=\"", y, "\" r=\"5\" style=\"fill:", colour,
               "\"/></g>\n");
  }
  return str("<div class=\"panel\"><h4>", kStageTitles[stage], "</h4><svg viewBox=\"0 0 ", kWidth,
             " ", height, "\" role=\"img\" aria-label=\"", kStageTitles[stage], " F1 by model\">\n",
             out, "</svg></div>\n");
}

struct Column {
  std::string title, group;  // `group` on the first column of a group
  size_t span = 1;
  std::vector<std::string> cells;
  std::vector<std::optional<double>> ranked;  // when not empty, the largest one is marked
  bool soft = false;
};

std::string table(const std::vector<Arm>& arms, const std::vector<Column>& columns) {
  std::string groups, titles, body;
  for (size_t c = 0; c < columns.size();) {
    const Column& column = columns[c];
    groups += str("<th class=\"group\" colspan=\"", column.span, "\">", column.group, "</th>");
    c += column.span;
  }
  std::set<size_t> starts;
  for (size_t c = 0; c < columns.size(); c += columns[c].span) starts.insert(c);
  for (size_t c = 0; c < columns.size(); ++c) {
    titles += str("<th", starts.count(c) ? " class=\"group\"" : "", ">", columns[c].title, "</th>");
  }
  for (size_t i = 0; i < arms.size(); ++i) {
    body += str("<tr><th>", arm_tag(arms[i]), "</th>");
    for (size_t c = 0; c < columns.size(); ++c) {
      const Column& column = columns[c];
      std::string classes = starts.count(c) ? "group" : "";
      if (column.soft) classes += " soft";
      if (!column.ranked.empty() && column.ranked[i] && arms.size() > 1 &&
          *column.ranked[i] == *std::max_element(column.ranked.begin(), column.ranked.end())) {
        classes += " best";
      }
      classes = trim(classes);
      body += str("<td", classes.empty() ? "" : str(" class=\"", classes, "\""), ">",
                  column.cells[i], "</td>");
    }
    body += "</tr>\n";
  }
  return str("<div class=\"scroll\"><table><thead><tr><th></th>", groups,
             "</tr>\n<tr><th>Model</th>", titles, "</tr></thead>\n<tbody>\n", body,
             "</tbody></table></div>\n");
}

void add_stage_columns(const std::vector<Arm>& arms, size_t stage, std::vector<Column>& columns) {
  const char* name = kStages[stage];
  const bool blind = any(arms, {"blind_facts", name, "f1"});
  Column score{"F1", kStageTitles[stage], size_t{blind ? 3u : 1u}};
  Column control{"blind", ""}, margin{"margin", ""};
  control.soft = true;
  for (const Arm& arm : arms) {
    const auto value = f1(arm, name), without = f1(arm, name, true);
    const auto low = number_at(arm.scores, {"facts", name, "f1_interval", "0"});
    const auto high = number_at(arm.scores, {"facts", name, "f1_interval", "1"});
    std::string cell = number(value, 100);
    if (low && high) {
      cell += str("<span class=\"pm\">", fixed(100 * *low, 1), "&ndash;", fixed(100 * *high, 1),
                  "</span>");
    }
    score.cells.push_back(cell);
    score.ranked.push_back(value);
    control.cells.push_back(number(without, 100));
    margin.cells.push_back(value && without ? signed_number(100 * (*value - *without)) : "&ndash;");
  }
  columns.push_back(score);
  if (blind) {
    columns.push_back(control);
    columns.push_back(margin);
  }
}

std::string fact_table(const std::vector<Arm>& arms) {
  std::vector<Column> columns;
  for (size_t s = 0; s < 3; ++s) {
    if (any(arms, {"facts", kStages[s], "f1"})) add_stage_columns(arms, s, columns);
  }
  return columns.empty() ? "" : table(arms, columns);
}

std::string judge_name(const Arm& arm) {
  const auto it = arm.scores.find("judge");
  return it != arm.scores.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string count_or_dash(int64_t count) {
  return count > 0 ? human_count(static_cast<double>(count)) : "&ndash;";
}

std::string cost_table(const std::vector<Arm>& arms) {
  Column judge{"final", str("Judge: ", html_escape(judge_name(arms.front())))};
  Column rouge{"ROUGE-L", "Text", 3}, bleu{"BLEU", ""}, cider{"CIDEr-D", ""};
  Column missing{"missing", "Answers"};
  Column activated{"activated", "Parameters", 2}, total{"total", ""}, time{"time", "Training"};
  missing.soft = true;
  bool parameters = false, seconds = false;
  for (const Arm& arm : arms) {
    const ArmSpec& spec = *arm.spec;
    for (auto& [column, path] : {std::pair{&judge, std::vector<std::string>{"final"}},
                                 {&rouge, {"text", "rouge_l"}},
                                 {&bleu, {"text", "bleu"}},
                                 {&cider, {"text", "cider"}}}) {
      column->ranked.push_back(number_at(arm.scores, path));
      column->cells.push_back(number(column->ranked.back()));
    }
    double absent = 0;
    for (const auto& [name, task] : arm.scores["tasks"].items()) {
      absent += number_at(task, {"missing"}).value_or(0);
    }
    missing.cells.push_back(fixed(absent, 0));
    activated.cells.push_back(count_or_dash(spec.activated_parameters));
    total.cells.push_back(count_or_dash(spec.total_parameters));
    time.cells.push_back(spec.train_seconds > 0 ? human_seconds(spec.train_seconds) : "&ndash;");
    parameters |= spec.activated_parameters > 0 || spec.total_parameters > 0;
    seconds |= spec.train_seconds > 0;
  }
  std::vector<Column> columns;
  if (any(arms, {"final"})) columns.push_back(judge);
  if (any(arms, {"text", "rouge_l"})) columns.insert(columns.end(), {rouge, bleu, cider});
  columns.push_back(missing);
  if (parameters) columns.insert(columns.end(), {activated, total});
  if (seconds) columns.push_back(time);
  return table(arms, columns);
}

// Precision and recall of the classes that answers name, by task.
std::string mention_table(const std::vector<Arm>& arms) {
  std::vector<Column> columns;
  for (const auto& [task, title] : {std::pair{"general_perception", "General perception"},
                                    {"region_perception", "Regions"},
                                    {"driving_suggestion", "Suggestion"}}) {
    if (!any(arms, {"mentions", task, "classes", "f1"})) continue;
    bool first = true;
    for (const char* key : {"precision", "recall"}) {
      Column column{key, first ? title : "", size_t{first ? 2u : 1u}};
      first = false;
      for (const Arm& arm : arms) {
        column.ranked.push_back(number_at(arm.scores, {"mentions", task, "classes", key}));
        column.cells.push_back(number(column.ranked.back(), 100));
      }
      columns.push_back(column);
    }
  }
  if (columns.empty()) return "";
  return str(
      "<h3>Mentions of CODA's classes</h3>\n<p class=\"sub\">Of the classes that an answer "
      "names, those that the reference names too (precision), and the other way round "
      "(recall).</p>\n",
      table(arms, columns));
}

// F1 of the parts of the describe and reason facts.
std::string part_table(const std::vector<Arm>& arms) {
  const std::vector<std::pair<const char*, const char*>> titles[2] = {
      {{"classes", "class"}, {"places", "place"}, {"weather", "weather"}, {"time", "time"}},
      {{"classes", "class"}, {"risks", "risk"}}};
  std::vector<Column> columns;
  for (size_t s = 0; s < 2; ++s) {
    const size_t first = columns.size();
    for (const auto& [key, title] : titles[s]) {
      const std::vector<std::string> path = {"facts", kStages[s], "parts", key, "f1"};
      if (!any(arms, path)) continue;
      Column column{title, kStageTitles[s]};
      for (const Arm& arm : arms) {
        column.ranked.push_back(number_at(arm.scores, path));
        column.cells.push_back(number(column.ranked.back(), 100));
      }
      columns.push_back(column);
      columns[first].span = columns.size() - first;
    }
  }
  if (columns.empty()) return "";
  return str(
      "<h3>By kind of fact</h3><p class=\"sub\">Places and risks count for the classes that "
      "both the answer and the scene name.</p>\n",
      table(arms, columns));
}

// Rows: classes of the stage, the most frequent ones first; columns: arms.
std::string class_table(const std::vector<Arm>& arms, size_t stage) {
  std::vector<std::pair<double, std::string>> classes;
  const Json& facts = arms.front().scores;
  if (!facts.contains("facts") || !facts["facts"].contains(kStages[stage])) return "";
  const Json& by_class = facts["facts"][kStages[stage]].value("per_class", Json::object());
  for (const auto& [name, counts] : by_class.items()) {
    classes.emplace_back(-number_at(counts, {"expected"}).value_or(0), name);
  }
  if (classes.empty()) return "";
  std::sort(classes.begin(), classes.end());
  std::string head, body;
  for (const Arm& arm : arms) head += str("<th>", arm_tag(arm), "</th>");
  for (const auto& [count, name] : classes) {
    body += str("<tr><th>", html_escape(spoken(name)), "</th><td class=\"soft\">", fixed(-count, 0),
                "</td>");
    for (const Arm& arm : arms) {
      const auto value = number_at(arm.scores, {"facts", kStages[stage], "per_class", name, "f1"});
      body += str("<td class=\"tint\" style=\"--v:", fixed(value.value_or(0), 3), "\"><span>",
                  number(value, 100), "</span></td>");
    }
    body += "</tr>\n";
  }
  return str("<h3>", kStageTitles[stage], "</h3><div class=\"scroll\"><table><thead><tr><th>",
             stage == 2 ? "Action" : "Class", "</th><th>true facts</th>", head,
             "</tr></thead><tbody>\n", body, "</tbody></table></div>\n");
}

}  // namespace

std::string headline_cards(const std::vector<Arm>& arms) {
  const Arm& lead = arms.front();
  std::string cards;
  for (size_t s = 0; s < 3; ++s) {
    const auto value = f1(lead, kStages[s]);
    if (!value) continue;
    const auto blind = f1(lead, kStages[s], true);
    std::string more;
    if (blind) {
      more =
          str(signed_number(100 * (*value - *blind)), " vs blind (", fixed(100 * *blind, 1), ")");
    }
    for (size_t i = 1; i < arms.size(); ++i) {
      const auto other = f1(arms[i], kStages[s]);
      if (!other) continue;
      more += str(more.empty() ? "" : "<br>", signed_number(100 * (*value - *other)), " vs ",
                  html_escape(arms[i].label));
    }
    cards += card(str(kStageTitles[s], " F1"), fixed(100 * *value, 1), more);
  }
  const ArmSpec& spec = *lead.spec;
  if (spec.activated_parameters > 0) {
    cards +=
        card("Activated parameters", human_count(static_cast<double>(spec.activated_parameters)),
             spec.total_parameters > 0
                 ? str("of ", human_count(static_cast<double>(spec.total_parameters)), " in total")
                 : "");
  }
  if (cards.empty()) {
    const auto final = number_at(lead.scores, {"final"});
    if (final) cards = card("Final score", fixed(*final, 1), "mean of the three tasks, 0 to 100");
  }
  return cards.empty() ? ""
                       : str("<p class=\"sub\" style=\"margin:28px 0 -16px\">", arm_tag(lead),
                             "</p>\n<div class=\"cards\">\n", cards, "</div>\n");
}

std::string score_section(const std::vector<Arm>& arms) {
  std::string panels, classes;
  for (size_t s = 0; s < 3; ++s) {
    if (any(arms, {"facts", kStages[s], "f1"})) panels += range_panel(arms, s);
    classes += class_table(arms, s);
  }
  std::string out;
  if (!panels.empty()) {
    out +=
        "<h3>Facts</h3>\n<p class=\"sub\">F1 of the facts that answers state, by stage, 0 to 100. "
        "Hollow marks are the blind runs, thin lines the 95&nbsp;% intervals.</p>\n";
  }
  if (!panels.empty()) out += str("<div class=\"panels\">\n", panels, "</div>\n");
  out += fact_table(arms) + cost_table(arms) + mention_table(arms);
  if (!classes.empty()) {
    out += str("<details><summary>F1 by kind of fact, class and action</summary>\n",
               part_table(arms), classes, "</details>\n");
  }
  return out;
}

}  // namespace mose::eval::report
