#include "mose/vision/cell_overlay.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::vision {
namespace {

constexpr int kLeastWidth = 320, kGap = 8, kTitle = 24, kLine = 22, kText = kGap + 24;
constexpr double kTint = 0.55;
constexpr double kFont = 0.5;

cv::Scalar bgr(const Colour& c) { return {static_cast<double>(c[2]), static_cast<double>(c[1]), static_cast<double>(c[0])}; }

void write_text(cv::Mat& on, const std::string& text, int x, int y) {
  cv::putText(on, text, {x, y}, cv::FONT_HERSHEY_SIMPLEX, kFont, cv::Scalar(20, 20, 20), 1, cv::LINE_AA);
}

int text_width(const std::string& text) {
  int below = 0;
  return cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, kFont, 1, &below).width;
}

// uint8 [3, H, W] to one grey channel.
cv::Mat grey_of(const torch::Tensor& frame_CHW) {
  const auto hwc = frame_CHW.to(torch::kCPU, torch::kUInt8).permute({1, 2, 0}).contiguous();
  const cv::Mat rgb(static_cast<int>(hwc.size(0)), static_cast<int>(hwc.size(1)), CV_8UC3, hwc.data_ptr<uint8_t>());
  cv::Mat grey;
  cv::cvtColor(rgb, grey, cv::COLOR_RGB2GRAY);
  return grey;
}

// Grey with every cell tinted, a pixel of the frame a pixel.
cv::Mat tinted(const cv::Mat& grey, const CellPanel& panel) {
  cv::Mat out(grey.size(), CV_8UC3);
  for (int y = 0; y < grey.rows; ++y) {
    const int64_t row = y * panel.down / grey.rows;
    for (int x = 0; x < grey.cols; ++x) {
      const Colour colour = class_colour(panel.classes[static_cast<size_t>(row * panel.across + x * panel.across / grey.cols)]);
      auto& pixel = out.at<cv::Vec3b>(y, x);
      for (int c = 0; c < 3; ++c) {
        pixel[c] = static_cast<uint8_t>(std::lround((1 - kTint) * grey.at<uint8_t>(y, x) + kTint * colour[static_cast<size_t>(2 - c)]));
      }
    }
  }
  return out;
}

}  // namespace

Colour class_colour(int64_t index) {
  static constexpr Colour kColours[] = {{31, 119, 180}, {255, 127, 14}, {44, 160, 44},  {214, 39, 40},  {148, 103, 189}, {140, 86, 75},
                                        {227, 119, 194}, {80, 80, 80},  {188, 189, 34}, {23, 190, 207}, {255, 220, 90},  {0, 60, 120}};
  return kColours[static_cast<size_t>(index) % std::size(kColours)];
}

Overlay draw_cells(const torch::Tensor& frame_CHW, const std::vector<CellPanel>& panels, const std::vector<LegendLine>& legend) {
  if (panels.empty() || frame_CHW.dim() != 3 || frame_CHW.size(0) != 3) throw Error("draw_cells: expected a frame [3, H, W] and at least one panel");
  const cv::Mat grey = grey_of(frame_CHW);
  const int factor = std::max(1, (kLeastWidth + grey.cols - 1) / grey.cols);
  const int width = grey.cols * factor, height = grey.rows * factor;
  const int count = static_cast<int>(panels.size());
  const int columns = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count)))), lines = (count + columns - 1) / columns;
  const int legend_top = lines * (kTitle + height + kGap) + kGap;
  int across = columns * (width + kGap) + kGap;
  for (const LegendLine& line : legend) across = std::max(across, kText + text_width(line.text) + kGap);
  cv::Mat canvas(legend_top + static_cast<int>(legend.size()) * kLine + kGap, across, CV_8UC3, cv::Scalar::all(255));
  Overlay out;
  for (int i = 0; i < count; ++i) {
    const CellPanel& panel = panels[static_cast<size_t>(i)];
    if (panel.across < 1 || panel.down < 1 || static_cast<int64_t>(panel.classes.size()) != panel.across * panel.down) {
      throw Error(str("draw_cells: panel \"", panel.title, "\": expected ", panel.across, " x ", panel.down, " classes, found ", panel.classes.size()));
    }
    const cv::Rect place(kGap + (i % columns) * (width + kGap), (i / columns) * (kTitle + height + kGap) + kTitle, width, height);
    write_text(canvas, panel.title, place.x, place.y - 7);
    cv::resize(tinted(grey, panel), canvas(place), place.size(), 0, 0, cv::INTER_NEAREST);
    out.places.push_back({place.x, place.y, place.width, place.height});
  }
  for (size_t i = 0; i < legend.size(); ++i) {
    const int y = legend_top + static_cast<int>(i) * kLine;
    cv::rectangle(canvas, cv::Rect(kGap, y, 16, 16), bgr(class_colour(legend[i].index)), cv::FILLED);
    write_text(canvas, legend[i].text, kText, y + 13);
  }
  std::vector<uint8_t> bytes;
  if (!cv::imencode(".png", canvas, bytes)) throw Error("draw_cells: the PNG could not be made");
  out.png.assign(bytes.begin(), bytes.end());
  return out;
}

}  // namespace mose::vision
