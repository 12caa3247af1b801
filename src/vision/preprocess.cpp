#include "mose/vision/preprocess.h"

#include <algorithm>
#include <array>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "vision/decode.h"
#include "vision/frame.h"

namespace mose::vision {

ImageSize image_size(const std::filesystem::path& path) {
  return image_size(read_image_file(path), path.string());
}

ImageSize image_size(std::string_view bytes, const std::string& name) {
  return upright_size(read_image_header(bytes, name), name);
}

FrameMap frame_map(const ImageSize& original, const PreprocessConfig& config) {
  const FramePlan plan = plan_frame(original, config);
  const auto scale = [](const Axis& axis) {
    return static_cast<double>(axis.resized) / static_cast<double>(axis.canvas);
  };
  const auto offset = [&](const Placed& placed) {
    return static_cast<double>(placed.axis.before) * scale(placed.axis) +
           static_cast<double>(placed.at - placed.axis.first);
  };
  return {scale(plan.across.axis), scale(plan.down.axis), offset(plan.across), offset(plan.down)};
}

RawImage decode_raw_image(std::string_view bytes, const std::string& name, const PreprocessConfig& config) {
  check_preprocess(config);
  const cv::Mat image = decode_image(bytes, name);
  const ImageSize original{image.cols, image.rows};
  return {draw_frame(image, plan_frame(original, config), config.filter, mean_colour(config)), original};
}

RawImage load_raw_image(const std::filesystem::path& path, const PreprocessConfig& config) {
  return decode_raw_image(read_image_file(path), path.string(), config);
}

torch::Tensor normalise(const torch::Tensor& pixels, const PreprocessConfig& config, double gain) {
  check_preprocess(config);
  if (pixels.scalar_type() != torch::kUInt8 || pixels.dim() < 3 || pixels.size(-3) != 3) {
    throw Error(mose::str("normalise: expected uint8 [..., 3, H, W], found ",
                          pixels.toString(), " ", pixels.sizes()));
  }
  const torch::Tensor input = pixels.contiguous();
  torch::Tensor result = torch::empty(input.sizes(), torch::kFloat32);
  const uint8_t* in = input.data_ptr<uint8_t>();
  float* out = result.data_ptr<float>();
  std::array<std::array<float, 256>, 3> table;
  for (size_t c = 0; c < 3; ++c) {
    for (size_t value = 0; value < 256; ++value) {
      const double light = std::min(static_cast<double>(value) * gain, 255.0) / 255.0;
      table[c][value] = static_cast<float>((light - config.mean[c]) / config.std[c]);
    }
  }
  const int64_t plane = input.size(-1) * input.size(-2);
  const int64_t planes = plane == 0 ? 0 : input.numel() / plane;
  for (int64_t p = 0; p < planes; ++p) {
    const std::array<float, 256>& values = table[static_cast<size_t>(p % 3)];
    for (int64_t i = 0; i < plane; ++i) *out++ = values[*in++];
  }
  return result;
}

torch::Tensor load_image(const std::filesystem::path& path, const PreprocessConfig& config) {
  return normalise(load_raw_image(path, config).pixels_CHW, config);
}

torch::Tensor mean_colour_image(const PreprocessConfig& config) {
  check_preprocess(config);
  return torch::zeros({3, config.height, config.width}, torch::kFloat32);
}

}  // namespace mose::vision
