// preprocessor_config.json, in Hugging Face's form.
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/vision/preprocess.h"

namespace mose::vision {
namespace {

// Pillow's numbers, which transformers writes as "resample". 4 (box) is the nearest to area averaging.
constexpr int kBilinear = 2, kBicubic = 3, kBox = 4;

struct Size {
  int64_t width = 0, height = 0;
  bool shortest = false;  // only the shorter side is given
};

int64_t positive(const Json& object, const std::string& key, const std::string& where) {
  const int64_t value = json_int(object, key, where);
  if (value < 1 || value > 16384) {
    throw DataError(str(where, ": ", key, ": expected 1 to 16384, found ", value));
  }
  return value;
}

Size read_size(const Json& json, const std::string& key, const std::string& where) {
  const Json& value = json_at(json, key, where);
  const std::string here = where + ": " + key;
  if (value.is_number_integer()) {
    const int64_t side = positive(json, key, where);
    return {side, side, false};
  }
  if (!value.is_object()) {
    throw DataError(str(here, ": expected a number or an object, found ", value.type_name()));
  }
  if (value.contains("shortest_edge")) {
    const int64_t side = positive(value, "shortest_edge", here);
    return {side, side, true};
  }
  return {positive(value, "width", here), positive(value, "height", here), false};
}

bool flag(const Json& json, const std::string& key, bool otherwise, const std::string& where) {
  if (!json.contains(key) || json[key].is_null()) return otherwise;
  if (!json[key].is_boolean()) {
    throw DataError(str(where, ": ", key, ": expected true or false, found ", json[key].dump()));
  }
  return json[key].get<bool>();
}

std::vector<double> channels(const Json& json, const std::string& key, const std::string& where) {
  std::vector<double> values;
  for (const Json& value : json_array(json, key, where)) {
    if (!value.is_number()) {
      throw DataError(str(where, ": ", key, ": expected numbers, found ", value.dump()));
    }
    values.push_back(value.get<double>());
  }
  if (values.size() != 3) {
    throw DataError(str(where, ": ", key, ": expected 3 values, found ", values.size()));
  }
  return values;
}

}  // namespace

Json preprocess_to_json(const PreprocessConfig& config) {
  const Json size{{"height", config.height}, {"width", config.width}};
  const bool crop = config.mode == "crop";
  Json json;
  json["do_convert_rgb"] = true;
  json["do_resize"] = true;
  // A frame that is cropped is covered first, whatever its shape, which "shortest_edge" says only for
  // squares; "mode" says it for all.
  if (crop && config.width == config.height) {
    json["size"] = Json{{"shortest_edge", config.height}};
  } else {
    json["size"] = size;
  }
  json["resample"] = config.filter == "bicubic"    ? kBicubic
                     : config.filter == "bilinear" ? kBilinear
                                                   : kBox;
  json["do_center_crop"] = crop;
  if (crop) json["crop_size"] = size;
  json["do_rescale"] = true;
  json["rescale_factor"] = 1.0 / 255.0;
  json["do_normalize"] = true;
  json["image_mean"] = config.mean;
  json["image_std"] = config.std;
  json["mode"] = config.mode;
  return json;
}

PreprocessConfig preprocess_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) throw DataError(str(where, ": expected an object"));
  PreprocessConfig config;
  for (const char* key : {"do_resize", "do_rescale", "do_convert_rgb"}) {
    if (!flag(json, key, true, where)) {
      throw DataError(str(where, ": ", key, ": false is not supported"));
    }
  }
  if (json.contains("rescale_factor") &&
      std::abs(json_number(json, "rescale_factor", where) * 255 - 1) > 1e-4) {
    throw DataError(str(where, ": rescale_factor: expected 1/255, found ",
                        json["rescale_factor"].dump()));
  }
  Size size = read_size(json, "size", where);
  config.mode = "stretch";
  if (flag(json, "do_center_crop", false, where)) {
    const Size crop = json.contains("crop_size") ? read_size(json, "crop_size", where) : size;
    if (std::min(crop.width, crop.height) != std::min(size.width, size.height)) {
      throw DataError(str(where, ": crop_size: a crop smaller than the resized image is not supported"));
    }
    size = crop;
    config.mode = "crop";
  } else if (size.shortest) {
    throw DataError(str(where, ": size: shortest_edge without do_center_crop is not supported: the "
                               "frame must have one size"));
  }
  if (json.contains("mode")) config.mode = json_string(json, "mode", where);
  if (config.mode != "stretch" && config.mode != "pad" && config.mode != "crop") {
    throw DataError(str(where, ": mode: expected stretch, pad or crop, found ", config.mode));
  }
  config.width = size.width;
  config.height = size.height;
  const int64_t number = json.contains("resample") ? json_int(json, "resample", where) : kBicubic;
  if (number != kBilinear && number != kBicubic && number != kBox) {
    throw DataError(str(where, ": resample: expected 2 (bilinear), 3 (bicubic) or 4 (box), found ",
                        number));
  }
  config.filter = number == kBicubic ? "bicubic" : number == kBilinear ? "bilinear" : "area";
  if (flag(json, "do_normalize", true, where)) {
    config.mean = channels(json, "image_mean", where);
    config.std = channels(json, "image_std", where);
  } else {
    config.mean = {0, 0, 0};
    config.std = {1, 1, 1};
  }
  for (const double value : config.std) {
    if (!(value > 0)) throw DataError(str(where, ": image_std: expected positive numbers"));
  }
  return config;
}

void save_preprocess(const std::filesystem::path& dir, const PreprocessConfig& config) {
  save_json(dir / "preprocessor_config.json", preprocess_to_json(config));
}

PreprocessConfig load_preprocess(const std::filesystem::path& dir) {
  const std::filesystem::path file = dir / "preprocessor_config.json";
  return preprocess_from_json(load_json(file), file.string());
}

}  // namespace mose::vision
