#include "vision/frame.h"

#include <algorithm>
#include <opencv2/imgproc.hpp>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::vision {
namespace {

// The middle of the resized canvas in the middle of the frame; odd rests go up and left, as transformers'
// center_crop rounds them.
Placed centred(int64_t size, int64_t canvas, int64_t resized, int64_t frame) {
  const int64_t rest = resized - frame;
  const int64_t first = rest >= 0 ? rest / 2 : -((1 - rest) / 2);
  return {{size, canvas, (canvas - size) / 2, resized, std::max<int64_t>(first, 0), std::min(resized, frame)},
          std::max<int64_t>(-first, 0)};
}

// Resized so that `short_side` is the length of the shorter side; the longer is rounded down.
ImageSize to_shortest_edge(const ImageSize& size, int64_t short_side) {
  if (size.width <= size.height) return {short_side, short_side * size.height / size.width};
  return {short_side * size.width / size.height, short_side};
}

// The smallest size of the image's aspect ratio that covers the frame.
ImageSize to_cover(const ImageSize& size, int64_t width, int64_t height) {
  if (width * size.height >= height * size.width) return {width, width * size.height / size.width};
  return {height * size.width / size.height, height};
}

// The smallest canvas of the frame's aspect ratio that holds the image.
ImageSize canvas_around(const ImageSize& size, int64_t width, int64_t height) {
  if (size.width * height >= size.height * width) return {size.width, size.width * height / width};
  return {size.height * width / height, size.height};
}

Filter pillow_filter(const std::string& name) {
  if (name == "box") return Filter::kBox;
  if (name == "bilinear") return Filter::kBilinear;
  if (name == "bicubic") return Filter::kBicubic;
  if (name == "lanczos") return Filter::kLanczos;
  throw UsageError(str("preprocess.filter: expected area, box, bilinear, bicubic or lanczos, found \"", name, "\""));
}

// OpenCV's average over areas, on a canvas that is really made.
cv::Mat resize_by_area(const cv::Mat& image, const FramePlan& plan, const std::array<uint8_t, 3>& border) {
  const Axis &across = plan.across.axis, &down = plan.down.axis;
  cv::Mat canvas = image;
  if (across.canvas != across.size || down.canvas != down.size) {
    if (across.canvas > kMaxPixels / down.canvas) {
      throw DataError(str("an image of ", across.size, " x ", down.size, " pixels on a canvas of ", across.canvas, " x ",
                          down.canvas, ": more than the limit of ", kMaxPixels / 1'000'000, " megapixels"));
    }
    cv::copyMakeBorder(image, canvas, static_cast<int>(down.before), static_cast<int>(down.canvas - down.size - down.before),
                       static_cast<int>(across.before), static_cast<int>(across.canvas - across.size - across.before),
                       cv::BORDER_CONSTANT, cv::Scalar(border[2], border[1], border[0]));
  }
  if (across.resized > kMaxPixels / down.resized) {
    throw DataError(str("an image of ", across.size, " x ", down.size, " pixels resized to ", across.resized, " x ",
                        down.resized, ": more than the limit of ", kMaxPixels / 1'000'000, " megapixels"));
  }
  cv::Mat out = canvas;
  if (across.canvas != across.resized || down.canvas != down.resized) {
    const bool shrinks = across.resized <= across.canvas && down.resized <= down.canvas;
    cv::resize(canvas, out, {static_cast<int>(across.resized), static_cast<int>(down.resized)}, 0, 0,
               shrinks ? cv::INTER_AREA : cv::INTER_LINEAR);
  }
  return out(cv::Rect(static_cast<int>(across.first), static_cast<int>(down.first), static_cast<int>(across.count),
                      static_cast<int>(down.count)));
}

}  // namespace

void check_preprocess(const PreprocessConfig& config) {
  if (config.width < 1 || config.height < 1) {
    throw UsageError(str("preprocess: width and height must be positive, found ", config.width, " x ", config.height));
  }
  if (config.shortest_edge > 0 && config.mode != "crop") {
    throw UsageError(str("preprocess.shortest_edge: only mode crop has one, found mode ", config.mode));
  }
  if (config.mean.size() != 3 || config.std.size() != 3) {
    throw UsageError(str("preprocess: mean and std need 3 values each (R, G, B), found ", config.mean.size(), " and ",
                         config.std.size()));
  }
  for (const double value : config.std) {
    if (!(value > 0)) throw UsageError(str("preprocess: std must be positive, found ", value));
  }
}

std::array<uint8_t, 3> mean_colour(const PreprocessConfig& config) {
  std::array<uint8_t, 3> colour{};
  for (size_t c = 0; c < 3; ++c) colour[c] = static_cast<uint8_t>(std::clamp(config.mean[c] * 255, 0.0, 255.0));
  return colour;
}

FramePlan plan_frame(const ImageSize& original, const PreprocessConfig& config) {
  ImageSize canvas = original, resized{config.width, config.height};
  if (config.mode == "pad") {
    canvas = canvas_around(original, config.width, config.height);
  } else if (config.mode == "crop") {
    resized = config.shortest_edge > 0 ? to_shortest_edge(original, config.shortest_edge)
                                       : to_cover(original, config.width, config.height);
  } else if (config.mode != "stretch") {
    throw UsageError(str("preprocess.mode: expected stretch, pad or crop, found \"", config.mode, "\""));
  }
  return {config.width, config.height, centred(original.width, canvas.width, resized.width, config.width),
          centred(original.height, canvas.height, resized.height, config.height)};
}

torch::Tensor draw_frame(const cv::Mat& image, const FramePlan& plan, const std::string& filter,
                         const std::array<uint8_t, 3>& border) {
  const Axis &across = plan.across.axis, &down = plan.down.axis;
  const bool as_it_is = across.size == across.canvas && across.canvas == across.resized &&
                        down.size == down.canvas && down.canvas == down.resized;
  std::vector<uint8_t> resampled;
  cv::Mat part;
  if (filter == "area" || as_it_is) {
    part = resize_by_area(image, plan, border);
  } else {
    resampled = resample(image.data, across, down, pillow_filter(filter), {border[2], border[1], border[0]});
    part = cv::Mat(static_cast<int>(down.count), static_cast<int>(across.count), CV_8UC3, resampled.data());
  }
  const bool full = across.count == plan.width && down.count == plan.height;
  torch::Tensor frame = full ? torch::empty({3, plan.height, plan.width}, torch::kUInt8)
                             : torch::zeros({3, plan.height, plan.width}, torch::kUInt8);
  const int64_t plane = plan.height * plan.width;
  for (int64_t y = 0; y < down.count; ++y) {
    const uint8_t* in = part.ptr<uint8_t>(static_cast<int>(y));
    uint8_t* out = frame.data_ptr<uint8_t>() + (plan.down.at + y) * plan.width + plan.across.at;
    for (int64_t x = 0; x < across.count; ++x) {
      for (int64_t c = 0; c < 3; ++c) out[c * plane + x] = in[3 * x + 2 - c];
    }
  }
  return frame;
}

}  // namespace mose::vision
