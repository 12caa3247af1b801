#include "mose/infer/controls.h"

#include <map>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose::infer {

std::vector<size_t> derangement(size_t n, uint64_t seed) {
  if (n < 2) throw UsageError(str("shuffled images: expected at least two scenes, found ", n));
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  RandomStream random(seed, "infer/shuffled_images");
  for (size_t i = n - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1))]);
  }
  return order;
}

std::vector<std::string> shuffled_images(const std::vector<Shown>& items, uint64_t seed) {
  struct Scene {
    std::string image;
    std::vector<std::string> regions;
  };
  std::map<std::string, size_t> index;
  std::vector<Scene> scenes;
  for (const Shown& item : items) {
    const auto [it, added] = index.emplace(item.scene, scenes.size());
    if (added) scenes.emplace_back();
    Scene& scene = scenes[it->second];
    if (item.region) {
      scene.regions.push_back(item.image);
    } else {
      scene.image = item.image;
    }
  }
  const auto other = derangement(scenes.size(), seed);
  std::vector<size_t> next(scenes.size(), 0);  // which of the other scene's regions comes next
  std::vector<std::string> images;
  for (const Shown& item : items) {
    const size_t scene = index.at(item.scene);
    const Scene& donor = scenes[other[scene]];
    const bool from_region = (item.region || donor.image.empty()) && !donor.regions.empty();
    images.push_back(from_region ? donor.regions[next[scene]++ % donor.regions.size()] : donor.image);
  }
  return images;
}

}  // namespace mose::infer
