// Resizing with antialiasing, bit for bit as Pillow does it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace mose::vision {

enum class Filter { kBox, kBilinear, kBicubic, kLanczos };

// One axis of a resize: the image's `size` pixels lie on a canvas of `canvas` pixels, `before` of them
// ahead of the image. The canvas is resized to `resized` pixels, of which those from `first` to
// `first + count` are wanted.
struct Axis {
  int64_t size = 0, canvas = 0, before = 0;
  int64_t resized = 0, first = 0, count = 0;
};

// The whole image to `resized` pixels.
inline Axis whole(int64_t size, int64_t resized) { return {size, size, 0, resized, 0, resized}; }

// Separable convolution with the filter stretched by the shrink factor, first along rows, then along
// columns, each brought to 8 bits with weights of 22 bits behind the point, as Pillow's Image.resize
// does with 8-bit images. Rows and columns that nothing wanted needs are not touched, and the canvas
// around the image, of colour `border`, is never made: its share of an output is one more tap.
// `pixels` is [down.size, across.size, 3]; the result is [down.count, across.count, 3].
std::vector<uint8_t> resample(const uint8_t* pixels, const Axis& across, const Axis& down, Filter filter,
                              const std::array<uint8_t, 3>& border = {});

}  // namespace mose::vision
