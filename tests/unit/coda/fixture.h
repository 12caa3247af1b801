// A hand-written annotation and pictures of a known size, in a folder that is removed afterwards.
#pragma once

#include <filesystem>
#include <string>

#include "mose/core/files.h"
#include "mose/core/json.h"
#include "support/helpers.h"

namespace mose::test {

// The smallest JPEG prefix that states a size: SOI, APP0, SOF0.
inline std::string jpeg_header(int width, int height) {
  std::string bytes("\xFF\xD8\xFF\xE0\x00\x04\x00\x00\xFF\xC0\x00\x0B\x08", 13);
  for (const int value : {height, width}) {
    bytes += static_cast<char>(value >> 8);
    bytes += static_cast<char>(value & 255);
  }
  return bytes + std::string("\x01\x01\x11\x00", 4);
}

inline Json annotation_json() {
  return parse_json(R"({
    "general_perception": {
      "vehicles": [{"description": "A white truck stands ahead in our lane.",
                    "explanation": "The truck blocks the lane, so the ego car has to slow down."}],
      "vulnerable_road_users": [],
      "traffic signs": [],
      "traffic_lights": [],
      "traffic_cones": [{"description": "Three orange cones stand on the right.",
                         "explanation": "They close the right lane."}],
      "barriers": [],
      "other_objects": [],
      "description and explanation": "It rains and the road is wet. A white truck stands ahead in our lane. The truck blocks the lane, so the ego car has to slow down."
    },
    "region_perception": {
      "10": {"description and explanation": "Three orange cones on the right. They may force us to merge.",
             "box": [300.5, 100, 20, 40], "category_name": "traffic_cone"},
      "2": {"description and explanation": "A white truck ahead. It affects the ego car because it does not move.",
            "box": [100, 80, 90, 60], "category_name": "truck"}
    },
    "driving_suggestion": "Slow down and change to the left lane."
  })", "annotation_json()");
}

// ROOT/CODA-LM/Train/val_0001.json with its 640 x 360 image.
inline std::filesystem::path write_annotation(const std::filesystem::path& root, const Json& json,
                                              const std::string& id = "val_0001") {
  const std::filesystem::path file = root / "CODA-LM/Train" / (id + ".json");
  save_json(file, json);
  write_file(root / "val/images" / (id.substr(4) + ".jpg"), jpeg_header(640, 360));
  return file;
}

}  // namespace mose::test
