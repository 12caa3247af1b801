// How the answers were made and judged: controls, counts of the prediction, what the judge cost,
// and how far the judges agree.
#include <algorithm>

#include "eval/report_parts.h"
#include "mose/core/strings.h"
#include "mose/eval/agreement.h"

namespace mose::eval::report {
namespace {

std::string count_cell(const Json& json, const std::vector<std::string>& path) {
  const auto value = number_at(json, path);
  return str("<td data-v=\"", value ? fixed(*value, 6) : "", "\">",
             !value         ? "&ndash;"
             : *value < 1e5 ? fixed(*value, 0)
                            : human_count(*value),
             "</td>");
}

std::string text_at(const Json& json, const char* key, const char* otherwise) {
  return json.is_object() && json.contains(key) && json[key].is_string()
             ? json[key].get<std::string>()
             : otherwise;
}

bool flag_at(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key] == true;
}

// "blind, true category in the region prompt"
std::string controls(const Json& predict) {
  std::vector<std::string> out;
  if (flag_at(predict, "blind")) out.push_back("blind");
  if (flag_at(predict, "shuffled_images")) out.push_back("shuffled images");
  if (flag_at(predict, "oracle_category")) out.push_back("oracle: true category in the prompt");
  return out.empty() ? "none" : join(out, ", ");
}

std::string predict_row(const Arm& arm, const Json& predict, const char* suffix) {
  const auto seconds = number_at(predict, {"seconds"});
  std::string cells;
  for (const char* key : {"images", "regions", "image_encodings", "decoder_passes", "prompt_tokens",
                          "generated_tokens"}) {
    cells += count_cell(predict, {key});
  }
  return str("<tr><th>", arm_tag(arm), suffix, "</th><td class=\"text\">",
             html_escape(spoken(text_at(predict, "form", "single_turn"))),
             "</td><td class=\"text\">", html_escape(controls(predict)), "</td>", cells,
             "<td data-v=\"", seconds ? fixed(*seconds, 6) : "", "\">",
             seconds ? human_seconds(*seconds) : "&ndash;", "</td></tr>\n");
}

std::string predict_table(const std::vector<Arm>& arms) {
  std::string rows;
  for (const Arm& arm : arms) {
    if (arm.predict.is_object()) rows += predict_row(arm, arm.predict, "");
    if (arm.blind_predict.is_object()) rows += predict_row(arm, arm.blind_predict, " (control)");
  }
  if (rows.empty()) return "";
  return str(
      "<h3>How the answers were made</h3><p class=\"sub\">Encodings are pictures through the "
      "tower; a pass is one forward pass "
      "of one sequence: its prompt, then each generated token after the first.</p>\n"
      "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>System</th><th "
      "class=\"text\">form</th>"
      "<th class=\"text\">control</th><th>images</th><th>regions</th><th>encodings</th>"
      "<th>passes</th><th>tokens in</th><th>tokens out</th><th>seconds</th>"
      "</tr></thead><tbody>\n",
      rows, "</tbody></table></div>\n");
}

std::string spent_rows(const Arm& arm, const std::string& judge, const Json& scores) {
  if (!scores.is_object() || !scores.contains("spent")) return "";
  const Json& spent = scores["spent"];
  const auto cost = number_at(spent, {"cost"});
  std::string cells;
  for (const char* key : {"requests", "failed_requests", "verdicts", "from_cache", "prompt_tokens",
                          "completion_tokens"}) {
    cells += count_cell(spent, {key});
  }
  std::string protocol = scores.contains("protocol") ? text_at(scores["protocol"], "name", "") : "";
  return str(
      "<tr><th>", arm_tag(arm), "</th><td class=\"text\">", html_escape(judge),
      "</td><td class=\"text\">", html_escape(protocol), "</td>", cells, "<td data-v=\"",
      cost ? fixed(*cost, 6) : "", "\">",
      cost ? str(fixed(*cost, 2), " ", html_escape(text_at(spent, "currency", ""))) : "&ndash;",
      "</td></tr>\n");
}

std::string spent_table(const std::vector<Arm>& arms) {
  std::string rows;
  for (const Arm& arm : arms) {
    if (arm.scores.contains("judges")) {
      for (const auto& [judge, scores] : arm.scores["judges"].items()) {
        rows += spent_rows(arm, judge, scores);
      }
    } else {
      rows += spent_rows(arm, arm.judge, arm.scores);
    }
  }
  if (rows.empty()) return "";
  return str(
      "<h3>What judging took</h3>\n<div class=\"scroll\"><table class=\"sortable\"><thead>"
      "<tr><th>System</th><th class=\"text\">judge</th><th "
      "class=\"text\">protocol</th><th>requests</th><th>failed</th>"
      "<th>verdicts</th><th>from cache</th><th>tokens in</th><th>tokens out</th>"
      "<th>cost</th></tr></thead><tbody>\n",
      rows, "</tbody></table></div>\n");
}

std::string html_table(const Table& table) {
  std::string head, body;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    head += str(c && c < table.texts ? "<th class=\"text\">" : "<th>",
                html_escape(table.columns[c]), "</th>");
  }
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      const Json& cell = row[c];
      const char* tag = c == 0 ? "th" : "td";
      if (cell.is_string()) {
        body += str(c ? "<td class=\"text\">" : "<tr><th>",
                    html_escape(table.columns[c] == "task" ? spoken(cell.get<std::string>())
                                                           : cell.get<std::string>()),
                    "</", tag, ">");
      } else {
        body += str("<td data-v=\"", cell.is_null() ? "" : cell.dump(), "\">",
                    cell.is_null()             ? "&ndash;"
                    : cell.is_number_integer() ? cell.dump()
                                               : fixed(cell.get<double>(), 2),
                    "</td>");
      }
    }
    body += "</tr>\n";
  }
  return str("<div class=\"scroll\"><table class=\"sortable\"><thead><tr>", head,
             "</tr></thead><tbody>\n", body, "</tbody></table></div>\n");
}

}  // namespace

std::string run_section(const std::vector<Arm>& arms) {
  const std::string tables = predict_table(arms) + spent_table(arms);
  return tables.empty() ? "" : str("<section id=\"runs\"><h2>Runs</h2>\n", tables, "</section>\n");
}

Agreement judges_agreement(const Arm& arm) {
  std::vector<std::pair<std::string, RatedItems>> raters;
  for (const std::string& judge : judges_of(arm.items)) {
    raters.emplace_back(judge, rated_by(arm.items, judge));
  }
  return agreement(raters);
}

std::string agreement_section(const std::vector<Arm>& arms) {
  std::string out;
  for (const Arm& arm : arms) {
    const Agreement found = judges_agreement(arm);
    const bool repeated = std::any_of(found.raters.begin(), found.raters.end(),
                                      [](const RaterSummary& r) { return r.noise.items > 0; });
    if (found.pairs.empty() && !repeated) continue;
    out += str("<h3>", arm_tag(arm), "</h3>\n");
    for (const Table& table : agreement_tables(found)) {
      if (table.name == "disputed") continue;  // the items' section shows them
      out += html_table(table);
    }
  }
  if (out.empty()) return "";
  return str(
      "<section id=\"judges\"><h2>Judges</h2>\n<p class=\"sub\">How far the judges agree on "
      "the same answers: kappa with quadratic weights (1 is full agreement, 0 that of "
      "chance), correlations, and mean differences of scores from 0 to 100. Noise is the "
      "deviation within an item that a judge rated more than once.</p>\n",
      out, "</section>\n");
}

}  // namespace mose::eval::report
