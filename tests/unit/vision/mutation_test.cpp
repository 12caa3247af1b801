// Damaged pictures and preprocessor files are taken or refused: no crash, bounded time and memory.
#include <gtest/gtest.h>

#include <opencv2/imgcodecs.hpp>

#include "mose/core/config.h"
#include "mose/vision/anyres.h"
#include "support/damage.h"
#include "support/helpers.h"

namespace mose::vision {
namespace {

TEST(Mutation, PicturesAreRefusedOrFillTheFrame) {
  RandomStream stream(2, "pictures");
  const auto picture = [&](int type) {
    cv::Mat image(23, 31, type);
    for (size_t i = 0; i < image.total() * image.elemSize(); ++i) image.data[i] = static_cast<uchar>(stream.integer(0, 255));
    return image;
  };
  struct Kind {
    const char* extension;
    int type;
    std::vector<int> how;
  };
  const std::vector<Kind> kinds = {
      {".jpg", CV_8UC3, {}}, {".jpg", CV_8UC1, {}}, {".jpg", CV_8UC3, {cv::IMWRITE_JPEG_PROGRESSIVE, 1}},
      {".jpg", CV_8UC3, {cv::IMWRITE_JPEG_RST_INTERVAL, 2}}, {".png", CV_8UC3, {}}, {".png", CV_8UC4, {}}, {".png", CV_16UC1, {}},
      {".webp", CV_8UC3, {}}, {".webp", CV_8UC4, {cv::IMWRITE_WEBP_QUALITY, 101}}, {".bmp", CV_8UC3, {}}, {".bmp", CV_8UC1, {}}};
  // Markers and sizes that lead further than noise does.
  const std::vector<std::string> pieces = {
      std::string("\xFF\xC0\0\x11\x08\xEA\x60\xEA\x60\x03", 10), "\xFF\xD9", "\xFF\xDA", "\xFF\xD8\xFF", "\xFF\xE1", "\xFF\xC4", "\xFF\xFF",
      std::string("\0\0\xEA\x60", 4), "IDAT", "IEND", "VP8X", "VP8L", "ALPH", "ANIM", "RIFF", std::string(8, '\0'), std::string(8, '\xFF')};
  PreprocessConfig config;
  config.width = config.height = 8;
  for (size_t i = 0; i < kinds.size(); ++i) {
    std::vector<uchar> bytes;
    cv::imencode(kinds[i].extension, picture(kinds[i].type), bytes, kinds[i].how);
    const std::string good(bytes.begin(), bytes.end());
    ::testing::internal::CaptureStderr();  // the codecs write about what they meet
    const int64_t taken = survive(str(kinds[i].extension, " ", i), 250, [&](RandomStream& random) {
      config.filter = random.chance(0.5) ? "area" : "bicubic";
      config.mode = random.chance(0.5) ? "pad" : "crop";
      const RawImage raw = decode_raw_image(damaged_bytes(good, random, pieces, 600), "damaged", config);
      EXPECT_EQ(raw.pixels_CHW.numel(), 3 * 8 * 8);
    }, uint64_t{1} << 30);  // 100 megapixels, and what a progressive JPEG's coefficients take
    ::testing::internal::GetCapturedStderr();
    EXPECT_LT(taken, 250) << kinds[i].extension;
  }
}

TEST(Mutation, PreprocessorFilesAreRefusedOrRoundTrip) {
  const TemporaryFolder folder;
  const auto use = [&](const std::string& content) {
    write_quickly(folder.path / "preprocessor_config.json", content);
    const PreprocessConfig config = load_preprocess(folder.path);
    EXPECT_EQ(to_json_config(preprocess_from_json(preprocess_to_json(config), "again")), to_json_config(config)) << content;
    load_pinpoints(folder.path);
  };
  for (const char* type : {"CLIPImageProcessor", "SiglipImageProcessor", "LlavaImageProcessor", "LlavaNextImageProcessor"}) {
    Json good{{"image_processor_type", type}, {"do_normalize", true}, {"do_rescale", true}, {"do_resize", true},
              {"resample", 2}, {"rescale_factor", 1 / 255.0}, {"image_mean", {0.1, 0.2, 0.3}}, {"image_std", {0.5, 0.5, 1}},
              {"size", Json{{"shortest_edge", 64}}}, {"crop_size", Json{{"height", 64}, {"width", 64}}}, {"do_center_crop", true}};
    if (std::string(type) == "LlavaImageProcessor") good["do_pad"] = true;
    if (std::string(type) == "LlavaNextImageProcessor") good["image_grid_pinpoints"] = {{64, 128}, {128, 64}, {128, 128}};
    use(good.dump());
    EXPECT_GT(survive(str(type, " bytes"), 500, [&](RandomStream& random) {
                use(damaged_bytes(good.dump(), random, json_pieces(), 300));
              }), 5);
    const int64_t taken = survive(str(type, " values"), 1000, [&](RandomStream& random) { use(damaged_json(good, random).dump()); });
    EXPECT_GT(taken, 20);
    EXPECT_LT(taken, 800);
  }
}

}  // namespace
}  // namespace mose::vision
