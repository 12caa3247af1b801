// From an image file to the pixels that a vision tower takes.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "mose/core/config.h"
#include "mose/vision/image_layout.h"

namespace mose::vision {

struct PreprocessConfig {
  int64_t width = 288, height = 160;  // of the frame: the pixels given to the tower
  std::vector<double> mean{0.5, 0.5, 0.5}, std{0.5, 0.5, 0.5};  // red, green, blue; of values in [0, 1]
  std::string mode = "stretch";
  int64_t shortest_edge = 0;
  std::string filter = "area";

  void visit(FieldVisitor& v) {
    v.field("width", width, "width of the frame in pixels", 1, 16384);
    v.field("height", height, "height of the frame in pixels", 1, 16384);
    v.field("mean", mean, "mean that normalisation subtracts, one value a channel (R, G, B)");
    v.field("std", std, "standard deviation that normalisation divides by, one value a channel");
    v.field("mode", mode,
            "stretch: resize to the frame; pad: put on a canvas of the frame's aspect ratio in the "
            "mean colour, then resize (LLaVA); crop: keep the aspect ratio, resize and cut out the "
            "middle (CLIP)",
            {"stretch", "pad", "crop"});
    v.field("shortest_edge", shortest_edge,
            "crop: length of the shorter side after resizing; what is less than the frame leaves a "
            "black border. 0: just cover the frame", 0, 16384);
    v.field("filter", filter,
            "box, bilinear, bicubic, lanczos: as Pillow resizes, bit for bit; area: average when "
            "shrinking, bilinear when enlarging",
            {"area", "box", "bilinear", "bicubic", "lanczos"});
  }
};

// Hugging Face's form, as CLIPImageProcessor (crop), SiglipImageProcessor (stretch) and
// LlavaImageProcessor (crop, or pad with do_pad) have it. Two more keys, "mode" and "filter", say what
// that form cannot: crop and pad for frames that are not square, and the filter "area".
Json preprocess_to_json(const PreprocessConfig& config);
// Also older files, without image_processor_type or with a number as size. A key that is missing has its
// processor's default. DataError names `where` and the key of what is missing, malformed, or not
// computed here, unknown keys included.
PreprocessConfig preprocess_from_json(const Json& json, const std::string& where);
// DIR/preprocessor_config.json
void save_preprocess(const std::filesystem::path& dir, const PreprocessConfig& config);
// The same, or "image_processor" in DIR/processor_config.json, which goes first, as in transformers.
PreprocessConfig load_preprocess(const std::filesystem::path& dir);

// Files above any of these are refused before they are decoded.
inline constexpr int64_t kMaxPixels = 100'000'000, kMaxSide = 65'535, kMaxBytes = 512 << 20;

// The file's bytes; DataError above kMaxBytes, before they are read.
std::string read_image_file(const std::filesystem::path& path);

// From the file's header; nothing is decoded. Throws as load_image does.
ImageSize image_size(const std::filesystem::path& path);
ImageSize image_size(std::string_view bytes, const std::string& name);

// float32 [3, H, W]: RGB, upright, resized by config.mode, (value / 255 - mean) / std.
// JPEG, PNG, BMP and WebP; grey images become RGB, an alpha channel is dropped, of 16 bits the upper 8
// are kept. Equal to Pillow with transformers' processors (tests/parity/preprocess.py), but for grey of
// 16 bits, which Pillow clips at 255.
// DataError names a file that is missing, truncated, damaged, over the limits above or no such image.
torch::Tensor load_image(const std::filesystem::path& path, const PreprocessConfig& config);

// The frame before normalisation, uint8 [3, H, W]: a quarter of the memory, for caches.
struct RawImage {
  torch::Tensor pixels_CHW;
  ImageSize original;  // the size of the file's image, upright
};
RawImage load_raw_image(const std::filesystem::path& path, const PreprocessConfig& config);
// The same for an encoded image in memory (a request); `name` is used in errors.
RawImage decode_raw_image(std::string_view bytes, const std::string& name,
                          const PreprocessConfig& config);

// uint8 [..., 3, H, W] -> float32 of the same shape; `gain` multiplies the values (clamped at 255) first.
torch::Tensor normalise(const torch::Tensor& pixels, const PreprocessConfig& config,
                        double gain = 1.0);

// The blind control's image: every pixel is the normalisation's mean colour, so float32 zeros
// [3, H, W]. It is the same for all files, so nothing about an image leaks through its brightness.
torch::Tensor mean_colour_image(const PreprocessConfig& config);

// Where the original's pixels land in the frame: x' = scale_x * x + offset_x, likewise y.
struct FrameMap {
  double scale_x = 1, scale_y = 1, offset_x = 0, offset_y = 0;
};
FrameMap frame_map(const ImageSize& original, const PreprocessConfig& config);

}  // namespace mose::vision
