// CODA-LM's annotation files: CODA-LM/<Split>/{val,test}_NNNN.json beside {val,test}/images/NNNN.jpg.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::coda {

// The seven keys of general_perception, in the files' order.
inline constexpr std::array<const char*, 7> kGeneralCategories = {
    "vehicles",      "vulnerable_road_users", "traffic_signs", "traffic_lights",
    "traffic_cones", "barriers",              "other_objects"};

// Pixels; (x, y) is the upper left corner.
struct Box {
  double x = 0, y = 0, w = 0, h = 0;
};

struct Entry {
  std::string description, explanation;
};

struct Region {
  std::string index;          // "1", "2", ... as in the file
  Box box;                    // xywh
  std::string category_name;  // one of CODA's names, for example "traffic_cone"
  std::string text;           // "description and explanation"
};

struct Annotation {
  std::string id;                              // "val_0001": the file's stem
  std::filesystem::path file;                  // where it was read from
  std::filesystem::path image;                 // relative to the root: "val/images/0001.jpg"
  std::map<std::string, std::vector<Entry>> general;  // by category, every category present
  std::string summary;                         // general perception's "description and explanation"
  std::vector<Region> regions;
  std::string driving_suggestion;
};

// "Train", "Val", "Test" or "Mini" (any letter case) -> the folder's spelling; UsageError otherwise.
std::string split_name(const std::string& split);

// Annotation files of a split, sorted by name. DataError when the folder is missing or empty.
std::vector<std::filesystem::path> list_annotations(const std::filesystem::path& root,
                                                    const std::string& split);

// Reads and checks one file. DataError names the file and the field: a missing key, a wrong type, a
// box that is empty or (when the image is there) lies outside it by more than a pixel. Keys may be
// spelt with spaces or underscores ("traffic signs").
Annotation load_annotation(const std::filesystem::path& file);
Annotation parse_annotation(const Json& json, const std::filesystem::path& file);
Json annotation_to_json(const Annotation& annotation);

// One of the seven region classes of the official scores ("vehicle", "vru", "cone", "barrier",
// "sign", "light", "miscellaneous") for one of CODA's category names, in any letter case and with
// spaces or underscores; "" for an unknown name.
std::string region_class(const std::string& category_name);
// The category names CODA uses, in a fixed order.
const std::vector<std::string>& category_names();

}  // namespace mose::coda
