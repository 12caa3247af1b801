#include "mose/vision/preprocess.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/random.h"
#include "support/helpers.h"

namespace mose::vision {
namespace {

namespace fs = std::filesystem;

std::string encoded(const std::string& extension, const cv::Mat& image) {
  std::vector<uchar> bytes;
  cv::imencode(extension, image, bytes);
  return {bytes.begin(), bytes.end()};
}

// BGR noise that a seed fixes.
cv::Mat noise(int width, int height, int type = CV_8UC3) {
  RandomStream stream(1, "noise");
  cv::Mat image(height, width, type);
  for (size_t i = 0; i < image.total() * image.elemSize(); ++i) {
    image.data[i] = static_cast<uchar>(stream.integer(0, 255));
  }
  return image;
}

PreprocessConfig frame(int64_t width, int64_t height, const std::string& mode = "stretch") {
  PreprocessConfig config;
  config.width = width;
  config.height = height;
  config.mode = mode;
  return config;
}

int pixel(const torch::Tensor& pixels_CHW, int64_t c, int64_t y, int64_t x) {
  return pixels_CHW[c][y][x].item<int>();
}

TEST(Preprocess, ChannelsAreRedGreenBlueAndNormalised) {
  const std::string bytes = encoded(".png", cv::Mat(4, 6, CV_8UC3, cv::Scalar(10, 20, 200)));
  PreprocessConfig config = frame(6, 4);
  config.mean = {0.1, 0.2, 0.3};
  config.std = {0.5, 0.25, 2.0};
  const RawImage raw = decode_raw_image(bytes, "test", config);
  EXPECT_EQ(raw.pixels_CHW.sizes(), (std::vector<int64_t>{3, 4, 6}));
  const torch::Tensor image = normalise(raw.pixels_CHW, config);
  EXPECT_NEAR(image[0][2][3].item<double>(), (200 / 255.0 - 0.1) / 0.5, 1e-6);
  EXPECT_NEAR(image[1][2][3].item<double>(), (20 / 255.0 - 0.2) / 0.25, 1e-6);
  EXPECT_NEAR(image[2][2][3].item<double>(), (10 / 255.0 - 0.3) / 2.0, 1e-6);
}

TEST(Preprocess, NormaliseEqualsTheFormulaForBatches) {
  const PreprocessConfig config;
  const torch::Tensor pixels = torch::randint(0, 256, {2, 3, 5, 7}, torch::kUInt8);
  const torch::Tensor expected = (pixels.to(torch::kFloat64) / 255 - 0.5) / 0.5;
  EXPECT_LT((normalise(pixels, config).to(torch::kFloat64) - expected).abs().max().item<double>(), 1e-6);
  const torch::Tensor brighter = ((pixels.to(torch::kFloat64) * 1.4).clamp_max(255) / 255 - 0.5) / 0.5;
  EXPECT_LT((normalise(pixels, config, 1.4).to(torch::kFloat64) - brighter).abs().max().item<double>(),
            1e-6);
}

TEST(Preprocess, ShrinkingAveragesAreas) {
  const cv::Mat image = noise(8, 4);
  const RawImage raw = decode_raw_image(encoded(".png", image), "test", frame(4, 2));
  for (int y = 0; y < 2; ++y) {
    for (int x = 0; x < 4; ++x) {
      double red = 0;
      for (int k = 0; k < 4; ++k) red += image.at<cv::Vec3b>(2 * y + k / 2, 2 * x + k % 2)[2] / 4.0;
      EXPECT_NEAR(pixel(raw.pixels_CHW, 0, y, x), red, 0.51);
    }
  }
}

// Torch's antialiased resize on floats, first along rows and then along columns, brought to 8 bits after
// each as Pillow does.
torch::Tensor torch_resize(const torch::Tensor& image_1CHW, int64_t width, int64_t height,
                           const std::string& filter) {
  const auto resize = [&](const torch::Tensor& input, int64_t to_width, int64_t to_height) {
    const std::vector<int64_t> size{to_height, to_width};
    const torch::Tensor out = filter == "bicubic" ? at::_upsample_bicubic2d_aa(input, size, false)
                                                  : at::_upsample_bilinear2d_aa(input, size, false);
    return out.clamp(0, 255).round();
  };
  return resize(resize(image_1CHW, width, image_1CHW.size(2)), width, height)[0];
}

TEST(Preprocess, AntialiasedFiltersMatchTorch) {
  const cv::Mat image = noise(61, 37);
  torch::Tensor input = torch::empty({1, 3, 37, 61});
  float* out = input.data_ptr<float>();
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 37; ++y) {
      for (int x = 0; x < 61; ++x) *out++ = image.at<cv::Vec3b>(y, x)[2 - c];
    }
  }
  const std::vector<std::pair<int64_t, int64_t>> sizes{{20, 13}, {90, 50}, {24, 80}};
  for (const auto& [width, height] : sizes) {
    for (const char* filter : {"bilinear", "bicubic"}) {
      PreprocessConfig config = frame(width, height);
      config.filter = filter;
      const auto pixels = decode_raw_image(encoded(".png", image), "test", config).pixels_CHW;
      const torch::Tensor difference = (pixels - torch_resize(input, width, height, filter)).abs();
      EXPECT_LE(difference.max().item<double>(), 1.0) << filter;  // a half may round either way
      EXPECT_LT(difference.mean().item<double>(), 0.05) << filter;
    }
  }
}

TEST(Preprocess, GreyAlphaAndSixteenBitImagesBecomeRgb) {
  const PreprocessConfig config = frame(3, 2);
  const auto grey = decode_raw_image(encoded(".png", cv::Mat(2, 3, CV_8UC1, cv::Scalar(77))), "grey", config);
  const auto alpha = decode_raw_image(encoded(".png", cv::Mat(2, 3, CV_8UC4, cv::Scalar(1, 2, 3, 90))),
                                      "alpha", config);
  const auto deep = decode_raw_image(
      encoded(".png", cv::Mat(2, 3, CV_16UC3, cv::Scalar(0x1234, 0x5678, 0x9ABC))), "deep", config);
  const auto deep_grey = decode_raw_image(encoded(".png", cv::Mat(2, 3, CV_16UC1, cv::Scalar(0x8001))),
                                          "deep grey", config);
  const int expected_grey = 77;
  for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(pixel(grey.pixels_CHW, c, 1, 2), expected_grey);
  for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(pixel(alpha.pixels_CHW, c, 0, 0), 3 - c);
  EXPECT_EQ(pixel(deep.pixels_CHW, 0, 0, 0), 0x9A);
  EXPECT_EQ(pixel(deep.pixels_CHW, 2, 0, 0), 0x12);
  for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(pixel(deep_grey.pixels_CHW, c, 0, 0), 0x80);
}

TEST(Preprocess, JpegWebpAndBmpAreRead) {
  cv::Mat image;
  cv::resize(noise(4, 3), image, {32, 24}, 0, 0, cv::INTER_LINEAR);
  const PreprocessConfig config = frame(32, 24);
  const auto exact = decode_raw_image(encoded(".png", image), "png", config).pixels_CHW.to(torch::kFloat32);
  for (const char* extension : {".jpg", ".webp", ".bmp"}) {
    const auto other = decode_raw_image(encoded(extension, image), extension, config);
    EXPECT_EQ(other.original.width, 32);
    EXPECT_EQ(other.original.height, 24);
    const double error = (other.pixels_CHW - exact).abs().mean().item<double>();
    EXPECT_LT(error, std::string(extension) == ".bmp" ? 1e-9 : 8.0) << extension;
  }
}

// A JPEG whose top left quarter is white, stored so that `orientation` makes it upright.
std::string with_orientation(const cv::Mat& stored, int orientation) {
  std::string exif("Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 25);
  exif += static_cast<char>(orientation);
  exif += std::string(6, '\0');
  const auto length = static_cast<char>(exif.size() + 2);
  const std::string jpeg = encoded(".jpg", stored);
  return jpeg.substr(0, 2) + std::string("\xFF\xE1\0", 3) + length + exif + jpeg.substr(2);
}

TEST(Preprocess, ExifOrientationMakesTheImageUpright) {
  cv::Mat upright(32, 64, CV_8UC3, cv::Scalar(0, 0, 0));
  upright(cv::Rect(0, 0, 32, 16)).setTo(cv::Scalar(255, 255, 255));
  // How each orientation stores it, by EXIF's table: where row 0 and column 0 of the file are shown.
  cv::Mat transposed = upright.t();
  std::map<int, cv::Mat> stored{{1, upright}, {5, transposed}};
  cv::flip(upright, stored[2], 1);       // row 0 top, column 0 right
  cv::flip(upright, stored[3], -1);      // bottom, right
  cv::flip(upright, stored[4], 0);       // bottom, left
  cv::flip(transposed, stored[6], 0);    // right, top
  cv::flip(transposed, stored[7], -1);   // right, bottom
  cv::flip(transposed, stored[8], 1);    // left, bottom
  for (const auto& [orientation, image] : stored) {
    const std::string bytes = with_orientation(image, orientation);
    const RawImage raw = decode_raw_image(bytes, "exif", frame(64, 32));
    EXPECT_EQ(raw.original.width, 64) << orientation;
    EXPECT_EQ(raw.original.height, 32) << orientation;
    EXPECT_GT(pixel(raw.pixels_CHW, 0, 4, 8), 200) << orientation;
    EXPECT_LT(pixel(raw.pixels_CHW, 0, 28, 56), 50) << orientation;
    EXPECT_LT(pixel(raw.pixels_CHW, 0, 4, 56), 50) << orientation;
    EXPECT_LT(pixel(raw.pixels_CHW, 0, 28, 8), 50) << orientation;
    TemporaryFolder scratch;
    write_file(scratch.path / "a.jpg", bytes);
    EXPECT_EQ(image_size(scratch.path / "a.jpg").width, 64) << orientation;
  }
}

TEST(Preprocess, EveryTruncationIsADataErrorThatNamesTheFile) {
  const cv::Mat image = noise(40, 30);
  for (const char* extension : {".jpg", ".png", ".webp", ".bmp"}) {
    const std::string whole = encoded(extension, image);
    const PreprocessConfig config = frame(8, 8);
    EXPECT_NO_THROW(decode_raw_image(whole, "whole", config));
    for (size_t length = 0; length < whole.size(); length += 1 + length / 20) {
      const std::string name = std::string("cut") + extension;
      const std::string message =
          message_of<DataError>([&] { decode_raw_image(whole.substr(0, length), name, config); });
      EXPECT_NE(message.find(name), std::string::npos) << length << ": " << message;
    }
    const std::string last =
        message_of<DataError>([&] { decode_raw_image(whole.substr(0, whole.size() - 1), "last", config); });
    EXPECT_NE(last.find("truncated"), std::string::npos) << extension << ": " << last;
  }
}

TEST(Preprocess, MissingForeignAndEmptyFilesAreDataErrors) {
  const TemporaryFolder scratch;
  const PreprocessConfig config;
  write_file(scratch.path / "text.jpg", "not an image");
  write_file(scratch.path / "empty.jpg", "");
  for (const char* name : {"missing.jpg", "text.jpg", "empty.jpg"}) {
    const std::string message = message_of<DataError>([&] { load_image(scratch.path / name, config); });
    EXPECT_NE(message.find(name), std::string::npos) << message;
  }
}

TEST(Preprocess, MoreThanAHundredMegapixelsAreRefusedFromTheHeader) {
  // 20000 x 20000 in a PNG of a few bytes; decoding it would take 1.2 GB.
  std::string png("\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\x4E\x20\0\0\x4E\x20\x08\x02\0\0\0\0\0\0\0", 33);
  png += std::string("\0\0\0\0IEND\0\0\0\0", 12);
  const std::string message = message_of<DataError>([&] { decode_raw_image(png, "huge.png", frame(8, 8)); });
  EXPECT_NE(message.find("20000 x 20000"), std::string::npos) << message;
}

TEST(Preprocess, PaddingKeepsTheAspectRatioAndFillsWithTheMeanColour) {
  PreprocessConfig config = frame(40, 40, "pad");
  config.mean = {0.2, 0.4, 0.6};
  const RawImage raw =
      decode_raw_image(encoded(".png", cv::Mat(50, 100, CV_8UC3, cv::Scalar(9, 9, 9))), "wide", config);
  for (int64_t c = 0; c < 3; ++c) {
    EXPECT_EQ(pixel(raw.pixels_CHW, c, 9, 20), 51 * (c + 1));
    EXPECT_EQ(pixel(raw.pixels_CHW, c, 10, 20), 9);
    EXPECT_EQ(pixel(raw.pixels_CHW, c, 29, 20), 9);
    EXPECT_EQ(pixel(raw.pixels_CHW, c, 30, 20), 51 * (c + 1));
  }
}

TEST(Preprocess, AShortestEdgeBelowTheFrameLeavesABlackBorder) {
  PreprocessConfig config = frame(10, 7, "crop");
  config.shortest_edge = 4;
  const RawImage raw =
      decode_raw_image(encoded(".png", cv::Mat(8, 16, CV_8UC3, cv::Scalar(9, 9, 9))), "wide", config);
  const torch::Tensor expected = torch::zeros({7, 10}, torch::kUInt8);
  expected.slice(0, 2, 6).slice(1, 1, 9).fill_(9);  // 8 x 4; of three free rows two are above, as in transformers
  EXPECT_TRUE(raw.pixels_CHW[1].equal(expected)) << raw.pixels_CHW[1];
  config.mode = "stretch";
  const std::string message = message_of<UsageError>([&] { decode_raw_image("", "any", config); });
  EXPECT_NE(message.find("shortest_edge"), std::string::npos) << message;
}

TEST(Preprocess, PaddingALineOfPixelsMakesNoHugeCanvas) {
  PreprocessConfig config = frame(8, 8, "pad");  // the canvas would have 3.6 gigapixels
  config.filter = "bicubic";
  const std::string line = encoded(".png", cv::Mat(1, 60000, CV_8UC3, cv::Scalar(0, 0, 0)));
  const RawImage raw = decode_raw_image(line, "line", config);
  EXPECT_EQ(pixel(raw.pixels_CHW, 0, 0, 0), 127);
  config.filter = "area";
  const std::string message = message_of<DataError>([&] { decode_raw_image(line, "line", config); });
  EXPECT_NE(message.find("60000 x 60000"), std::string::npos) << message;
}

TEST(Preprocess, FrameMapSaysWhereAPixelLands) {
  for (const char* mode : {"stretch", "pad", "crop"}) {
    cv::Mat image(120, 200, CV_8UC3, cv::Scalar(0, 0, 0));
    image(cv::Rect(96, 50, 8, 20)).setTo(cv::Scalar(255, 255, 255));
    image(cv::Rect(60, 80, 8, 20)).setTo(cv::Scalar(255, 255, 255));
    const PreprocessConfig config = frame(64, 48, mode);
    const RawImage raw = decode_raw_image(encoded(".png", image), "map", config);
    const FrameMap map = frame_map(raw.original, config);
    const std::vector<std::pair<double, double>> centres{{100, 60}, {64, 90}};
    for (const auto& [x, y] : centres) {
      const auto in_x = static_cast<int64_t>(map.scale_x * x + map.offset_x);
      const auto in_y = static_cast<int64_t>(map.scale_y * y + map.offset_y);
      EXPECT_GT(pixel(raw.pixels_CHW, 0, in_y, in_x), 200) << mode << " " << x;
    }
  }
}

TEST(Preprocess, MeanColourImageIsZero) {
  const torch::Tensor image = mean_colour_image(frame(5, 4));
  EXPECT_EQ(image.sizes(), (std::vector<int64_t>{3, 4, 5}));
  EXPECT_EQ(image.abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace mose::vision
