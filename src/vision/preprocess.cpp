#include "mose/vision/preprocess.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "vision/image_header.h"
#include "vision/resample.h"

namespace mose::vision {
namespace {

void check_config(const PreprocessConfig& config) {
  if (config.width < 1 || config.height < 1) {
    throw UsageError(str("preprocess: width and height must be positive, found ", config.width,
                         " x ", config.height));
  }
  if (config.mean.size() != 3 || config.std.size() != 3) {
    throw UsageError(str("preprocess: mean and std need 3 values each (R, G, B), found ",
                         config.mean.size(), " and ", config.std.size()));
  }
  for (const double value : config.std) {
    if (!(value > 0)) throw UsageError(str("preprocess: std must be positive, found ", value));
  }
}

// The size of the resized image before padding or cropping.
ImageSize resized_size(const ImageSize& original, const PreprocessConfig& config) {
  if (config.mode == "stretch") return {config.width, config.height};
  const double across = static_cast<double>(config.width) / static_cast<double>(original.width);
  const double down = static_cast<double>(config.height) / static_cast<double>(original.height);
  if (config.mode == "pad") {
    const double scale = std::min(across, down);
    const auto fit = [&](int64_t size, int64_t limit) {
      return std::clamp<int64_t>(std::llround(static_cast<double>(size) * scale), 1, limit);
    };
    return {fit(original.width, config.width), fit(original.height, config.height)};
  }
  if (config.mode == "crop") {
    // The longer side is rounded down, as transformers' resize to the shortest edge does.
    const double scale = std::max(across, down);
    const auto cover = [&](int64_t size, int64_t least) {
      return std::max<int64_t>(
          static_cast<int64_t>(std::floor(static_cast<double>(size) * scale + 1e-9)), least);
    };
    return {cover(original.width, config.width), cover(original.height, config.height)};
  }
  throw UsageError(str("preprocess.mode: expected stretch, pad or crop, found \"", config.mode, "\""));
}

cv::Mat upright(const cv::Mat& image, int orientation) {
  cv::Mat out;
  switch (orientation) {
    case 2: cv::flip(image, out, 1); return out;
    case 3: cv::rotate(image, out, cv::ROTATE_180); return out;
    case 4: cv::flip(image, out, 0); return out;
    case 5: cv::transpose(image, out); return out;
    case 6: cv::rotate(image, out, cv::ROTATE_90_CLOCKWISE); return out;
    case 7: cv::transpose(image, out); cv::rotate(out, out, cv::ROTATE_180); return out;
    case 8: cv::rotate(image, out, cv::ROTATE_90_COUNTERCLOCKWISE); return out;
    default: return image;
  }
}

ImageSize upright_size(const ImageHeader& header, const std::string& name) {
  if (header.width > kMaxPixels / header.height) {
    throw DataError(str("image ", name, ": ", header.width, " x ", header.height,
                        " pixels, more than the limit of ", kMaxPixels / 1'000'000, " megapixels"));
  }
  if (header.orientation >= 5) return {header.height, header.width};
  return {header.width, header.height};
}

// BGR, 8 bits, upright, at its own size.
cv::Mat decode(std::string_view bytes, const std::string& name, const ImageHeader& header) {
  cv::Mat image;
  try {
    const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8UC1,
                          const_cast<char*>(bytes.data()));
    // IMREAD_COLOR: three channels of 8 bits from grey, palette, alpha and 16-bit images alike.
    image = cv::imdecode(encoded, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const cv::Exception& error) {
    throw DataError(str("image ", name, ": cannot be decoded: ", error.err));
  }
  if (image.empty()) throw DataError(str("image ", name, ": cannot be decoded"));
  return upright(image, header.orientation);
}

cv::Mat resize(const cv::Mat& image, const ImageSize& size, const std::string& filter) {
  const auto width = static_cast<int>(size.width), height = static_cast<int>(size.height);
  if (image.cols == width && image.rows == height) return image;
  cv::Mat out;
  if (filter == "area") {
    const bool shrinks = width <= image.cols && height <= image.rows;
    cv::resize(image, out, {width, height}, 0, 0, shrinks ? cv::INTER_AREA : cv::INTER_LINEAR);
    return out;
  }
  const cv::Mat input = image.isContinuous() ? image : image.clone();
  const std::vector<uint8_t> pixels =
      resample(input.data, input.cols, input.rows, size.width, size.height,
               filter == "bicubic" ? Filter::kBicubic : Filter::kBilinear);
  out.create(height, width, CV_8UC3);
  std::copy(pixels.begin(), pixels.end(), out.data);
  return out;
}

}  // namespace

ImageSize image_size(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  return upright_size(read_image_header(bytes, path.string()), path.string());
}

FrameMap frame_map(const ImageSize& original, const PreprocessConfig& config) {
  const ImageSize resized = resized_size(original, config);
  FrameMap map;
  map.scale_x = static_cast<double>(resized.width) / static_cast<double>(original.width);
  map.scale_y = static_cast<double>(resized.height) / static_cast<double>(original.height);
  const int64_t free_x = config.width - resized.width, free_y = config.height - resized.height;
  // Half of the border (or overhang, then negative), rounded towards the upper left.
  map.offset_x = static_cast<double>(free_x >= 0 ? free_x / 2 : -(-free_x / 2));
  map.offset_y = static_cast<double>(free_y >= 0 ? free_y / 2 : -(-free_y / 2));
  return map;
}

RawImage decode_raw_image(std::string_view bytes, const std::string& name,
                          const PreprocessConfig& config) {
  check_config(config);
  const ImageHeader header = read_image_header(bytes, name);
  const ImageSize original = upright_size(header, name);
  const cv::Mat image = resize(decode(bytes, name, header), resized_size(original, config),
                               config.filter);
  const FrameMap map = frame_map(original, config);
  const auto offset_x = static_cast<int64_t>(map.offset_x);
  const auto offset_y = static_cast<int64_t>(map.offset_y);

  torch::Tensor pixels = torch::empty({3, config.height, config.width}, torch::kUInt8);
  uint8_t* out = pixels.data_ptr<uint8_t>();
  const int64_t plane = config.height * config.width;
  for (int64_t c = 0; c < 3; ++c) {
    const auto border = static_cast<uint8_t>(
        std::clamp(std::round(config.mean[static_cast<size_t>(c)] * 255), 0.0, 255.0));
    for (int64_t y = 0; y < config.height; ++y) {
      const int64_t from_y = y - offset_y;
      uint8_t* row = out + c * plane + y * config.width;
      if (from_y < 0 || from_y >= image.rows) {
        std::fill(row, row + config.width, border);
        continue;
      }
      const uint8_t* in = image.ptr<uint8_t>(static_cast<int>(from_y));
      for (int64_t x = 0; x < config.width; ++x) {
        const int64_t from_x = x - offset_x;
        row[x] = from_x < 0 || from_x >= image.cols ? border : in[from_x * 3 + (2 - c)];
      }
    }
  }
  return {pixels, original};
}

RawImage load_raw_image(const std::filesystem::path& path, const PreprocessConfig& config) {
  return decode_raw_image(read_file(path), path.string(), config);
}

torch::Tensor normalise(const torch::Tensor& pixels, const PreprocessConfig& config, double gain) {
  check_config(config);
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
  check_config(config);
  return torch::zeros({3, config.height, config.width}, torch::kFloat32);
}

}  // namespace mose::vision
