// The parts of the HTML report; each returns a piece of the page, "" when there is nothing to show.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/agreement.h"
#include "mose/eval/items.h"
#include "mose/eval/published.h"
#include "mose/eval/report.h"

namespace mose::eval::report {

struct Arm {
  const ArmSpec* spec;
  size_t index;  // its colour is var(--arm<index % 6>)
  std::string label;
  Json scores;
  std::vector<Item> items;      // empty without items.jsonl
  std::string judge;            // whose scores lead: scores.json's "judge"
  RatedItems rated;             // by that judge
  Json predict, blind_predict;  // predict.json of the answers and of the control; null without
};
// Reads what the spec names.
std::vector<Arm> load_arms(const ReportSpec& spec);
// The published scores that the report shows, if any.
std::optional<PublishedScores> published_scores(const ReportSpec& spec,
                                                const std::vector<Arm>& arms);

struct Part;  // report_estimates.h

std::string style();   // the content of <style>
std::string script();  // the content of <script>

std::string headline_cards(const std::vector<Arm>& arms);
std::string judge_summary(const std::vector<Arm>& arms, const std::vector<Part>& parts,
                          const PublishedScores* published);
std::string part_tables(const std::vector<Arm>& arms, const std::vector<Part>& parts);
std::string score_section(const std::vector<Arm>& arms);
std::string item_section(const ReportSpec& spec, const std::vector<Arm>& arms);
std::string agreement_section(const std::vector<Arm>& arms);
std::string run_section(const std::vector<Arm>& arms);
std::string curve_section(const std::vector<Arm>& arms);
std::string routing_section(const std::vector<Arm>& arms);
std::string sample_section(const ReportSpec& spec, const std::vector<Arm>& arms);

Agreement judges_agreement(const Arm& arm);
// <span class="swatch"> in the arm's colour and its label.
std::string arm_tag(const Arm& arm);
// The number at a path of keys, or nothing.
std::optional<double> number_at(const Json& json, const std::vector<std::string>& path);
std::string number(const std::optional<double>& value, double factor = 1, int decimals = 1);
std::string base64(const std::string& bytes);
// "traffic_cone" -> "traffic cone"
std::string spoken(const std::string& name);

struct Point {
  double x, y;
};
struct Series {
  std::string label, colour;  // colour as CSS
  std::vector<Point> points;
};
// An SVG of 360 x 215 units with axes, grid, lines and a hover title at every point; at most 120
// points a line, each the mean of its neighbourhood.
std::string line_chart(const std::string& name, const std::string& x_label,
                       const std::vector<Series>& series);

}  // namespace mose::eval::report
