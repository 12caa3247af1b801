// Controls of a prediction: which picture each question is shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mose::infer {

// A seeded cycle through 0 .. n - 1 in random order (Sattolo): no index keeps its place. UsageError
// for n < 2, where there is no other place to go to.
std::vector<size_t> derangement(size_t n, uint64_t seed);

// The scene of a question, and the picture that belongs to it.
struct Shown {
  std::string scene, image;
  bool region = false;
};

// For each item the picture of another scene, the same one for all items of a scene: a region gets one of that scene's
// region pictures (its own picture where it has none), any other item that scene's picture.
std::vector<std::string> shuffled_images(const std::vector<Shown>& items, uint64_t seed);

}  // namespace mose::infer
