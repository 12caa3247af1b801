// Where an image's pixels come to lie in the frame, and the drawing of it.
#pragma once

#include <torch/types.h>

#include <array>
#include <opencv2/core.hpp>
#include <string>

#include "mose/vision/preprocess.h"
#include "vision/resample.h"

namespace mose::vision {

// One axis of a frame: what `axis` wants of the resized image begins at pixel `at` of the frame. Pixels
// of the frame that this leaves free are 0.
struct Placed {
  Axis axis;
  int64_t at = 0;
};

struct FramePlan {
  int64_t width = 0, height = 0;  // of the frame
  Placed across, down;
};

FramePlan plan_frame(const ImageSize& original, const PreprocessConfig& config);

// uint8 [3, height, width], RGB. `border` (R, G, B) is the colour of the canvas around the image.
torch::Tensor draw_frame(const cv::Mat& image, const FramePlan& plan, const std::string& filter,
                         const std::array<uint8_t, 3>& border);

// int(mean * 255), as LLaVA computes it.
std::array<uint8_t, 3> mean_colour(const PreprocessConfig& config);

// UsageError names the field.
void check_preprocess(const PreprocessConfig& config);

}  // namespace mose::vision
