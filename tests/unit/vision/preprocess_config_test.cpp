#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/vision/preprocess.h"
#include "support/helpers.h"

namespace mose::vision {
namespace {

TEST(PreprocessConfigFile, RoundTripsEveryMode) {
  const TemporaryFolder scratch;
  for (const char* mode : {"stretch", "pad", "crop"}) {
    for (const char* filter : {"area", "box", "bilinear", "bicubic", "lanczos"}) {
      for (const int64_t shortest_edge : {0, 64, 90}) {
        PreprocessConfig config;
        config.width = 96;
        config.height = 64;
        config.mode = mode;
        config.filter = filter;
        config.mean = {0.1, 0.2, 0.3};
        config.shortest_edge = std::string(mode) == "crop" ? shortest_edge : 0;
        save_preprocess(scratch.path, config);
        EXPECT_EQ(to_json_config(load_preprocess(scratch.path)), to_json_config(config));
      }
    }
  }
}

TEST(PreprocessConfigFile, ReadsClipAndSiglipFiles) {
  const auto clip = preprocess_from_json(parse_json(R"({
      "crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
      "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 224,
      "image_mean": [0.48145466, 0.4578275, 0.40821073],
      "image_std": [0.26862954, 0.26130258, 0.27577711]})", "clip"), "clip");
  EXPECT_EQ(clip.mode, "crop");
  EXPECT_EQ(clip.width, 224);
  EXPECT_EQ(clip.filter, "bicubic");
  EXPECT_DOUBLE_EQ(clip.std[2], 0.27577711);
  const auto siglip = preprocess_from_json(parse_json(R"({
      "do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true,
      "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2,
      "rescale_factor": 0.00392156862745098, "size": {"height": 384, "width": 256}})", "siglip"), "siglip");
  EXPECT_EQ(siglip.mode, "stretch");
  EXPECT_EQ(siglip.height, 384);
  EXPECT_EQ(siglip.width, 256);
  EXPECT_EQ(siglip.filter, "bilinear");
}

TEST(PreprocessConfigFile, ReadsLlavaFilesWithAndWithoutPadding) {
  Json json = parse_json(R"({"image_processor_type": "LlavaImageProcessorFast", "do_pad": true,
      "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, "resample": 3})", "llava");
  const PreprocessConfig pad = preprocess_from_json(json, "llava");
  EXPECT_EQ(pad.mode, "pad");
  EXPECT_EQ(pad.width, 336);
  EXPECT_DOUBLE_EQ(pad.mean[0], 0.48145466);  // the processor's own where the file has none
  json["do_pad"] = false;
  EXPECT_EQ(preprocess_from_json(json, "llava").mode, "crop");
  json["image_aspect_ratio"] = "pad";  // the original LLaVA's word for it
  EXPECT_EQ(preprocess_from_json(json, "llava").mode, "pad");
}

TEST(PreprocessConfigFile, AShortestEdgeThatIsNotTheCropIsKept) {
  Json json = parse_json(R"({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 256}})", "clip");
  const PreprocessConfig config = preprocess_from_json(json, "clip");
  EXPECT_EQ(config.shortest_edge, 256);
  EXPECT_EQ(config.width, 224);
  json["size"] = Json{{"height", 224}, {"width", 224}};  // both sides: stretched, then nothing to cut
  EXPECT_EQ(preprocess_from_json(json, "clip").mode, "stretch");
}

TEST(PreprocessConfigFile, TheProcessorFileOfTransformersFiveGoesFirst) {
  const TemporaryFolder scratch;
  PreprocessConfig ours;
  ours.width = 10;
  save_preprocess(scratch.path, ours);
  save_json(scratch.path / "processor_config.json", Json{{"processor_class", "LlavaProcessor"}});
  EXPECT_EQ(load_preprocess(scratch.path).width, 10);
  save_json(scratch.path / "processor_config.json",
            Json{{"image_processor", Json{{"image_processor_type", "SiglipImageProcessor"}}}});
  EXPECT_EQ(load_preprocess(scratch.path).width, 224);
}

// Keys of a file that is fine but for one entry, and what the error must name.
TEST(PreprocessConfigFile, NamesTheKeyOfWhatItCannotRead) {
  const std::string clip = "CLIPImageProcessor", siglip = "SiglipImageProcessor", llava = "LlavaImageProcessor";
  const Json wide{{"height", 4}, {"width", 8}}, square{{"height", 8}, {"width", 8}};
  struct Case {
    std::string type;
    Json entries;
    std::vector<std::string> says;
  };
  const std::vector<Case> cases = {
      {"", {{"image_mean", {0, 0, 0}}, {"image_std", {1, 1, 1}}}, {"size", "missing"}},
      {"", {{"size", 8}, {"image_std", {1, 1, 1}}}, {"image_mean"}},
      {"", {{"size", 8}, {"crop_size", 8}, {"do_center_crop", true}}, {"size", "image_processor_type"}},
      {clip, {{"resample", 0}}, {"resample", "0"}},
      {clip, {{"resample", "cubic"}}, {"resample"}},
      {clip, {{"image_std", {1, 0, 1}}}, {"image_std"}},
      {clip, {{"image_mean", {1, 0}}}, {"image_mean", "3 values"}},
      {clip, {{"do_resize", false}}, {"do_resize"}},
      {clip, {{"do_rescale", false}}, {"do_rescale"}},
      {clip, {{"do_convert_rgb", false}}, {"do_convert_rgb"}},
      {clip, {{"rescale_factor", 0.0078}}, {"rescale_factor", "0.0078"}},
      {clip, {{"do_center_crop", false}}, {"shortest_edge"}},
      {clip, {{"do_center_crop", "yes"}}, {"do_center_crop", "yes"}},
      {clip, {{"size", Json{{"shortest_edge", 8}, {"longest_edge", 9}}}}, {"longest_edge"}},
      {clip, {{"size", Json{{"max_height", 8}, {"max_width", 9}}}}, {"size"}},
      {clip, {{"size", square}, {"crop_size", wide}}, {"crop_size"}},
      {clip, {{"size", 0}}, {"size", "0"}},
      {clip, {{"do_pad", true}}, {"do_pad"}},
      {clip, {{"pad_size", square}}, {"pad_size"}},
      {clip, {{"use_square_size", true}}, {"use_square_size"}},
      {clip, {{"do_flip", true}}, {"do_flip"}},
      {siglip, {{"do_center_crop", true}}, {"crop_size"}},
      {llava, {{"do_pad", true}, {"crop_size", square}}, {"crop_size"}},
      {llava, {{"do_pad", true}, {"do_center_crop", false}, {"size", wide}}, {"size", "square"}},
      {llava, {{"do_pad", true}, {"do_normalize", false}}, {"do_normalize"}},
      {llava, {{"image_aspect_ratio", "anyres"}}, {"image_aspect_ratio", "anyres"}},
      {"LlavaNextImageProcessor", {{"size", 336}, {"crop_size", 224}}, {"crop_size"}},
      {"LlavaNextImageProcessor", {{"size", wide}, {"crop_size", wide}}, {"crop_size", "square"}},
      {"LlavaNextImageProcessor", {{"aspect_ratio_setting", "pad"}}, {"aspect_ratio_setting", "pad"}},
      {llava, {{"image_grid_pinpoints", Json::array()}}, {"image_grid_pinpoints"}},
      {"Qwen2VLImageProcessor", Json::object(), {"Qwen2VLImageProcessor"}},
      {siglip, {{"mode", "pad"}}, {"do_pad"}},
      {siglip, {{"mode", "fit"}}, {"mode", "fit"}},
      {siglip, {{"resample", 2}, {"filter", "area"}}, {"filter", "area"}},
  };
  for (const Case& test : cases) {
    Json json = test.entries;
    if (!test.type.empty()) json["image_processor_type"] = test.type;
    const std::string message = message_of<DataError>([&] { preprocess_from_json(json, "x.json"); });
    EXPECT_EQ(message.rfind("x.json", 0), 0U) << message;
    for (const std::string& text : test.says) EXPECT_NE(message.find(text), std::string::npos) << json << ": " << message;
  }
}

}  // namespace
}  // namespace mose::vision
