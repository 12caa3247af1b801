#include "vision/decode.h"

#include <opencv2/imgcodecs.hpp>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "vision/jpeg.h"

namespace mose::vision {
namespace {

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

cv::Mat decode_other(std::string_view bytes, const std::string& name) {
  cv::Mat image;
  try {
    const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<char*>(bytes.data()));
    // IMREAD_COLOR: three channels of 8 bits from grey, palette, alpha and 16-bit images alike.
    image = cv::imdecode(encoded, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const cv::Exception& error) {
    throw DataError(str("image ", name, ": cannot be decoded: ", error.err));
  }
  if (image.empty()) throw DataError(str("image ", name, ": cannot be decoded"));
  return image;
}

}  // namespace

ImageSize upright_size(const ImageHeader& header, const std::string& name) {
  if (header.width > kMaxPixels / header.height) {
    throw DataError(str("image ", name, ": ", header.width, " x ", header.height,
                        " pixels, more than the limit of ", kMaxPixels / 1'000'000, " megapixels"));
  }
  if (std::max(header.width, header.height) > kMaxSide) {
    throw DataError(str("image ", name, ": ", header.width, " x ", header.height,
                        " pixels, more than the limit of ", kMaxSide, " a side"));
  }
  if (header.orientation >= 5) return {header.height, header.width};
  return {header.width, header.height};
}

cv::Mat decode_image(std::string_view bytes, const std::string& name) {
  const ImageHeader header = read_image_header(bytes, name);
  const ImageSize size = upright_size(header, name);
  cv::Mat image = is_jpeg(bytes) ? decode_jpeg(bytes, name, header) : decode_other(bytes, name);
  image = upright(image, header.orientation);
  if (image.cols != size.width || image.rows != size.height || !image.isContinuous()) {
    throw DataError(str("image ", name, ": the header says ", size.width, " x ", size.height, " pixels, decoded are ",
                        image.cols, " x ", image.rows));
  }
  return image;
}

std::string read_image_file(const std::filesystem::path& path) {
  std::error_code code;
  const auto bytes = std::filesystem::file_size(path, code);  // a missing file is read_file's to report
  if (!code && bytes > static_cast<uintmax_t>(kMaxBytes)) {
    throw DataError(str("image ", path.string(), ": ", bytes, " bytes, more than the limit of ", kMaxBytes));
  }
  return read_file(path);
}

}  // namespace mose::vision
