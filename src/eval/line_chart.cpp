#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/report_parts.h"
#include "mose/core/strings.h"

namespace mose::eval::report {
namespace {

constexpr double kWidth = 360, kHeight = 215, kLeft = 40, kRight = 8, kTop = 10, kBottom = 40;
constexpr size_t kPoints = 120;

// Means of equal runs of neighbours, so that noise does not hide the course.
std::vector<Point> thin(std::vector<Point> points) {
  std::stable_sort(points.begin(), points.end(),
                   [](const Point& a, const Point& b) { return a.x < b.x; });
  if (points.size() <= kPoints) return points;
  std::vector<Point> out;
  for (size_t i = 0; i < kPoints; ++i) {
    const size_t begin = points.size() * i / kPoints, end = points.size() * (i + 1) / kPoints;
    Point mean{0, 0};
    for (size_t k = begin; k < end; ++k) {
      mean.x += points[k].x / static_cast<double>(end - begin);
      mean.y += points[k].y / static_cast<double>(end - begin);
    }
    out.push_back(mean);
  }
  return out;
}

// The step among 1, 2, 5 · 10^k that gives about `count` ticks.
double tick_step(double range, double count) {
  const double raw = range / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

std::string tick_label(double value, double step) {
  if (std::abs(value) >= 10000) return human_count(value);
  const int decimals = step >= 1 ? 0 : static_cast<int>(std::ceil(-std::log10(step) - 1e-9));
  return fixed(value, decimals);
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
};

}  // namespace

std::string line_chart(const std::string& name, const std::string& x_label,
                       const std::vector<Series>& series) {
  std::vector<std::vector<Point>> lines;
  Range x, y;
  for (const Series& s : series) {
    lines.push_back(thin(s.points));
    for (const Point& p : lines.back()) {
      x.add(p.x);
      y.add(p.y);
    }
  }
  if (x.low > x.high) return "";
  if (x.high == x.low) x.high = x.low + 1;
  if (y.high == y.low) {
    y.high += 0.5;
    y.low -= 0.5;
  }
  const double y_step = tick_step(y.high - y.low, 4);
  y.low = y_step * std::floor(y.low / y_step + 1e-9);
  y.high = y_step * std::ceil(y.high / y_step - 1e-9);
  const auto px = [&](double v) {
    return kLeft + (v - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight);
  };
  const auto py = [&](double v) {
    return kHeight - kBottom - (v - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom);
  };

  std::string out = str("<svg viewBox=\"0 0 ", kWidth, " ", kHeight,
                        "\" role=\"img\" aria-label=\"", html_escape(name), "\">\n");
  for (double v = y.low; v <= y.high + y_step / 2; v += y_step) {
    out += str("<line class=\"grid\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"",
               fixed(py(v), 1), "\" y2=\"", fixed(py(v), 1), "\"/><text x=\"", kLeft - 7, "\" y=\"",
               fixed(py(v) + 4, 1), "\" text-anchor=\"end\" font-size=\"12.5\">",
               tick_label(std::abs(v) < y_step / 1000 ? 0 : v, y_step), "</text>\n");
  }
  const double x_step = std::max(1.0, tick_step(x.high - x.low, 4));
  for (double v = x_step * std::ceil(x.low / x_step); v <= x.high + 1e-9; v += x_step) {
    const char* anchor = px(v) > kWidth - kRight - 14 ? "end" : "middle";
    out += str("<line class=\"axis\" x1=\"", fixed(px(v), 1), "\" x2=\"", fixed(px(v), 1),
               "\" y1=\"", kHeight - kBottom, "\" y2=\"", kHeight - kBottom + 4, "\"/><text x=\"",
               fixed(px(v), 1), "\" y=\"", kHeight - kBottom + 18, "\" text-anchor=\"", anchor,
               "\" font-size=\"12.5\">", tick_label(v, x_step), "</text>\n");
  }
  out += str("<line class=\"axis\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"",
             kHeight - kBottom, "\" y2=\"", kHeight - kBottom, "\"/><text x=\"",
             (kLeft + kWidth - kRight) / 2, "\" y=\"", kHeight - 3,
             "\" text-anchor=\"middle\" font-size=\"12.5\">", html_escape(x_label), "</text>\n");
  std::string hits;
  for (size_t s = 0; s < series.size(); ++s) {
    std::string path;
    for (const Point& p : lines[s]) {
      path += str(path.empty() ? "" : " ", fixed(px(p.x), 1), ",", fixed(py(p.y), 1));
      hits += str("<circle class=\"hit\" cx=\"", fixed(px(p.x), 1), "\" cy=\"", fixed(py(p.y), 1),
                  "\" r=\"3.5\"><title>", html_escape(series[s].label), ", ", html_escape(x_label),
                  " ", fixed(p.x, 0), ": ", fixed(p.y, 4), "</title></circle>\n");
    }
    if (lines[s].size() == 1) {
      out +=
          str("<circle cx=\"", fixed(px(lines[s][0].x), 1), "\" cy=\"", fixed(py(lines[s][0].y), 1),
              "\" r=\"3\" style=\"fill:", series[s].colour, "\"/>\n");
    } else if (!path.empty()) {
      out += str("<polyline class=\"line\" style=\"stroke:", series[s].colour, "\" points=\"", path,
                 "\"/>\n");
    }
  }
  return out + hits + "</svg>";
}

}  // namespace mose::eval::report
