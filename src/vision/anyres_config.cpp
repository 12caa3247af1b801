// LlavaNextImageProcessor's form of preprocessor_config.json.
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/vision/anyres.h"
#include "vision/processor_file.h"

namespace mose::vision {
namespace {

constexpr const char* kKey = "image_grid_pinpoints";

}  // namespace

std::vector<ImageSize> pinpoints_from_json(const Json& json, const std::string& where) {
  if (!json.contains(kKey) || json[kKey].is_null()) return {{672, 336}, {336, 672}, {672, 672}, {336, 1008}, {1008, 336}};
  std::vector<ImageSize> pinpoints;
  for (const Json& pair : json_array(json, kKey, where)) {
    const bool known = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() && pair[1].is_number_integer();
    if (!known) throw DataError(str(where, ": ", kKey, ": expected pairs [height, width], found ", pair.dump()));
    pinpoints.push_back({pair[1].get<int64_t>(), pair[0].get<int64_t>()});
  }
  if (pinpoints.empty()) throw DataError(str(where, ": ", kKey, ": expected at least one pair [height, width]"));
  return pinpoints;
}

Json pinpoints_to_json(const std::vector<ImageSize>& pinpoints) {
  Json pairs = Json::array();
  for (const ImageSize& size : pinpoints) pairs.push_back({size.height, size.width});
  return pairs;
}

std::vector<ImageSize> load_pinpoints(const std::filesystem::path& dir) {
  const ProcessorFile file = load_processor_file(dir);
  const auto type = file.json.find("image_processor_type");
  if (type == file.json.end() || !type->is_string() || !type->get<std::string>().starts_with("LlavaNextImageProcessor")) return {};
  return pinpoints_from_json(file.json, file.where);
}

void save_preprocess(const std::filesystem::path& dir, const PreprocessConfig& tile, const std::vector<ImageSize>& pinpoints) {
  if (pinpoints.empty()) return save_preprocess(dir, tile);
  if (tile.mode != "stretch" || tile.width != tile.height || tile.filter == "area") {
    throw UsageError("anyres: LlavaNextImageProcessor stretches to square tiles, with a filter of Pillow's");
  }
  PreprocessConfig square = tile;
  square.mode = "crop";  // of what has the crop's size already
  Json json = preprocess_to_json(square);
  json["image_processor_type"] = "LlavaNextImageProcessor";
  json[kKey] = pinpoints_to_json(pinpoints);
  json["do_pad"] = true;  // of a batch, with empty tiles
  json.erase("mode");
  json.erase("filter");
  save_json(dir / "preprocessor_config.json", json);
}

}  // namespace mose::vision
