// The parts of the HTML report; each returns a piece of the page, "" when there is nothing to show.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/report.h"

namespace mose::eval::report {

struct Arm {
  const ArmSpec* spec;
  size_t index;  // its colour is var(--arm<index % 6>)
  std::string label;
  Json scores;
};

std::string style();  // the content of <style>

std::string headline_cards(const std::vector<Arm>& arms);
std::string score_section(const std::vector<Arm>& arms);
std::string curve_section(const std::vector<Arm>& arms);
std::string routing_section(const std::vector<Arm>& arms);
std::string sample_section(const ReportSpec& spec, const std::vector<Arm>& arms);

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
