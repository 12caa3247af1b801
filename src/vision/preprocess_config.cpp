// preprocessor_config.json, in Hugging Face's form.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/vision/preprocess.h"
#include "vision/processor_file.h"

namespace mose::vision {
namespace {

using Vector = std::vector<double>;

// Pillow's numbers, which transformers writes as "resample". Box is the nearest to area averaging.
const std::map<int64_t, std::string>& filters() {
  static const std::map<int64_t, std::string> names{{1, "lanczos"}, {2, "bilinear"}, {3, "bicubic"}, {4, "box"}};
  return names;
}

bool has(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

// What a processor does where its file is silent.
struct Defaults {
  bool crops = false, pads = false;         // pads: knows LLaVA's do_pad
  bool tiles = false;                       // LLaVA-NeXT's
  std::optional<Json> size, crop_size;
  std::optional<Vector> mean, std;
};

Defaults defaults_of(const Json& json, const std::string& where) {
  const char* key = has(json, "image_processor_type") ? "image_processor_type" : "feature_extractor_type";
  if (!has(json, key)) return {};
  std::string type = json_string(json, key, where);
  for (const char* suffix : {"Fast", "Pil"}) {
    if (type.ends_with(suffix)) type.resize(type.size() - std::string(suffix).size());
  }
  const Json side = 224, square{{"height", side}, {"width", side}}, shortest{{"shortest_edge", side}};
  const bool llava = type == "LlavaImageProcessor", next = type == "LlavaNextImageProcessor";
  if (llava || next || type == "CLIPImageProcessor" || type == "CLIPFeatureExtractor") {
    return {true, llava, next, shortest, square, Vector{0.48145466, 0.4578275, 0.40821073},
            Vector{0.26862954, 0.26130258, 0.27577711}};
  }
  if (type == "SiglipImageProcessor") return {false, false, false, square, {}, Vector{0.5, 0.5, 0.5}, Vector{0.5, 0.5, 0.5}};
  throw DataError(str(where, ": ", key, ": found ", type, ", which is not computed here; expected CLIPImageProcessor, ",
                      "SiglipImageProcessor, LlavaImageProcessor or LlavaNextImageProcessor"));
}

// No key is passed over: it is read below, changes no pixel, or is refused.
void check_keys(const Json& json, const Defaults& defaults, const std::string& where) {
  static const std::vector<std::string> read = {
      "crop_size", "default_to_square", "do_center_crop", "do_convert_rgb", "do_normalize", "do_pad", "do_rescale",
      "do_resize", "feature_extractor_type", "filter", "image_aspect_ratio", "image_mean", "image_processor_type",
      "image_std", "mode", "resample", "rescale_factor", "size"};
  static const std::vector<std::string> harmless = {
      "_valid_processor_keys", "auto_map", "data_format", "device", "disable_grouping", "image_seq_length",
      "input_data_format", "model_input_names", "num_additional_image_tokens", "patch_size", "processor_class",
      "return_tensors", "vision_feature_select_strategy"};
  for (const auto& [key, value] : json.items()) {
    if (value.is_null() || (value.is_boolean() && key == "use_square_size" && !value.get<bool>())) continue;
    const auto in = [&, &name = key](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    const bool ours = key == "mode" || key == "filter";
    if (in(harmless) || (in(read) && !(ours && defaults.tiles))) continue;
    if (defaults.tiles && (key == "image_grid_pinpoints" || (key == "aspect_ratio_setting" && value == "anyres"))) continue;
    throw DataError(str(where, ": ", key, ": found ", value.dump(),
                        "; this key is not known here, so the pixels could come out wrong"));
  }
}

bool flag(const Json& json, const char* key, bool otherwise, const std::string& where) {
  if (!has(json, key)) return otherwise;
  if (!json[key].is_boolean()) {
    throw DataError(str(where, ": ", key, ": expected true or false, found ", json[key].dump()));
  }
  return json[key].get<bool>();
}

int64_t positive(const Json& object, const std::string& key, const std::string& where) {
  const int64_t value = json_int(object, key, where);
  if (value < 1 || value > 16384) {
    throw DataError(str(where, ": ", key, ": expected 1 to 16384, found ", value));
  }
  return value;
}

// {"height", "width"} or {"shortest_edge"}; then width and height are its length.
struct Size {
  int64_t width = 0, height = 0;
  bool shortest = false;
};

Size read_size(const Json& json, const char* key, const std::optional<Json>& otherwise, bool number_is_shortest,
               const std::string& where) {
  if (!has(json, key) && !otherwise) throw DataError(str(where, ": ", key, ": missing"));
  const Json& value = has(json, key) ? json[key] : *otherwise;
  const std::string here = str(where, ": ", key);
  if (value.is_number_integer()) {
    const int64_t side = positive(json, key, where);
    return {side, side, number_is_shortest};
  }
  if (!value.is_object()) {
    throw DataError(str(here, ": expected a number or an object, found ", value.type_name()));
  }
  const bool shortest = has(value, "shortest_edge");
  for (const auto& [name, entry] : value.items()) {
    const bool known = shortest ? name == "shortest_edge" : name == "height" || name == "width";
    if (!known && !entry.is_null()) throw DataError(str(here, ": ", name, ": not computed here"));
  }
  if (!shortest) return {positive(value, "width", here), positive(value, "height", here), false};
  const int64_t side = positive(value, "shortest_edge", here);
  return {side, side, true};
}

Vector channels(const Json& json, const char* key, const std::optional<Vector>& otherwise, const std::string& where) {
  if (!has(json, key) && otherwise) return *otherwise;
  Vector values;
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

std::string read_filter(const Json& json, const std::string& where) {
  const int64_t number = has(json, "resample") ? json_int(json, "resample", where) : 3;
  const auto found = filters().find(number);
  if (found == filters().end()) {
    throw DataError(str(where, ": resample: expected 1 (lanczos), 2 (bilinear), 3 (bicubic) or 4 (box), found ", number));
  }
  // Box with our own "mode" and no "filter" is an older file of ours, which meant area.
  if (!has(json, "filter")) return number == 4 && has(json, "mode") ? "area" : found->second;
  const std::string filter = json_string(json, "filter", where);
  if (filter != found->second && !(filter == "area" && number == 4)) {
    throw DataError(str(where, ": filter: ", filter, " does not go with resample ", number, " (", found->second, ")"));
  }
  return filter;
}

bool pads_to_square(const Json& json, const Defaults& defaults, const std::string& where) {
  if (defaults.tiles) return false;  // do_pad there adds empty tiles to those of a batch
  const bool do_pad = flag(json, "do_pad", false, where);
  if (do_pad && !defaults.pads) {
    throw DataError(str(where, ": do_pad: true is computed for LlavaImageProcessor only"));
  }
  if (!has(json, "image_aspect_ratio")) return do_pad;
  const std::string ratio = json_string(json, "image_aspect_ratio", where);
  if (ratio != "pad" && ratio != "square") {
    throw DataError(str(where, ": image_aspect_ratio: found ", ratio, ", which is not computed here; expected pad or square"));
  }
  return do_pad || ratio == "pad";
}

// Mode, frame and shortest edge from size, crop_size, do_center_crop and do_pad.
void read_geometry(const Json& json, const Defaults& defaults, const std::string& where, PreprocessConfig& config) {
  const bool typed = defaults.size.has_value();
  const bool crops = flag(json, "do_center_crop", defaults.crops, where);
  const bool pads = pads_to_square(json, defaults, where);
  if (crops && !typed && !has(json, "default_to_square") && has(json, "size") && json["size"].is_number()) {
    throw DataError(str(where, ": size: a number means a square to some processors and the shortest edge to others; ",
                        "name one as image_processor_type"));
  }
  const bool number_is_shortest = !flag(json, "default_to_square", !typed, where);
  const Size size = read_size(json, "size", defaults.size, number_is_shortest, where);
  Size frame = size;
  if (crops) {
    frame = read_size(json, "crop_size", defaults.crop_size, false, where);
    if (frame.shortest) throw DataError(str(where, ": crop_size: shortest_edge: expected height and width"));
  } else if (size.shortest && !pads) {
    throw DataError(str(where, ": size: shortest_edge without do_center_crop: the frame must have one size"));
  }
  config.width = frame.width;
  config.height = frame.height;
  const bool same = frame.width == size.width && frame.height == size.height;
  if (has(json, "mode")) {  // ours
    config.mode = json_string(json, "mode", where);
    if (config.mode != "stretch" && config.mode != "pad" && config.mode != "crop") {
      throw DataError(str(where, ": mode: expected stretch, pad or crop, found ", config.mode));
    }
    if (crops != (config.mode == "crop")) throw DataError(str(where, ": do_center_crop: does not go with mode ", config.mode));
    if (pads != (config.mode == "pad")) throw DataError(str(where, ": do_pad: does not go with mode ", config.mode));
    if (config.mode == "crop" && size.shortest && !same) config.shortest_edge = size.width;
    return;
  }
  config.mode = pads ? "pad" : size.shortest ? "crop" : "stretch";
  if (config.mode == "crop") {
    config.shortest_edge = same ? 0 : size.width;
  } else if (!same) {
    throw DataError(str(where, ": crop_size: a crop that is not as large as the resized image is computed only after ",
                        "resizing to a shortest edge"));
  } else if (pads && size.width != size.height) {
    throw DataError(str(where, ": size: an image padded to a square is resized to a square only"));
  }
}

}  // namespace

Json preprocess_to_json(const PreprocessConfig& config) {
  const Json size{{"height", config.height}, {"width", config.width}};
  const bool crop = config.mode == "crop", pad = config.mode == "pad";
  Json json;
  json["image_processor_type"] = crop ? "CLIPImageProcessor" : pad ? "LlavaImageProcessor" : "SiglipImageProcessor";
  json["do_convert_rgb"] = true;
  json["do_resize"] = true;
  json["size"] = size;
  if (crop && (config.shortest_edge > 0 || config.width == config.height)) {
    json["size"] = Json{{"shortest_edge", config.shortest_edge > 0 ? config.shortest_edge : config.height}};
  }
  for (const auto& [number, name] : filters()) {
    if (name == config.filter || (name == "box" && config.filter == "area")) json["resample"] = number;
  }
  json["do_center_crop"] = crop;
  if (crop) json["crop_size"] = size;
  if (pad) json["do_pad"] = true;
  json["do_rescale"] = true;
  json["rescale_factor"] = 1.0 / 255.0;
  json["do_normalize"] = true;
  json["image_mean"] = config.mean;
  json["image_std"] = config.std;
  json["mode"] = config.mode;
  json["filter"] = config.filter;
  return json;
}

PreprocessConfig preprocess_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) throw DataError(str(where, ": expected an object"));
  const Defaults defaults = defaults_of(json, where);
  check_keys(json, defaults, where);
  PreprocessConfig config;
  for (const char* key : {"do_resize", "do_rescale", "do_convert_rgb"}) {
    if (!flag(json, key, true, where)) {
      throw DataError(str(where, ": ", key, ": false is not supported"));
    }
  }
  if (has(json, "rescale_factor") && std::abs(json_number(json, "rescale_factor", where) * 255 - 1) > 1e-4) {
    throw DataError(str(where, ": rescale_factor: expected 1/255, found ", json["rescale_factor"].dump()));
  }
  read_geometry(json, defaults, where, config);
  if (defaults.tiles) {  // frames and tiles are cut to size before they come to the crop
    if (config.mode == "crop" && config.shortest_edge == 0 && config.width == config.height) config.mode = "stretch";
    if (config.mode != "stretch" || config.width != config.height) {
      throw DataError(str(where, ": crop_size: expected the square of size, as which LlavaNextImageProcessor cuts tiles"));
    }
  }
  config.filter = read_filter(json, where);
  if (flag(json, "do_normalize", true, where)) {
    config.mean = channels(json, "image_mean", defaults.mean, where);
    config.std = channels(json, "image_std", defaults.std, where);
  } else {
    if (config.mode == "pad") throw DataError(str(where, ": do_normalize: false with do_pad is not supported"));
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

ProcessorFile load_processor_file(const std::filesystem::path& dir) {
  const std::filesystem::path whole = dir / "processor_config.json", file = dir / "preprocessor_config.json";
  if (std::filesystem::exists(whole)) {
    const Json json = load_json(whole);
    if (json.is_object() && json.contains("image_processor")) return {json["image_processor"], whole.string() + ": image_processor"};
  }
  return {load_json(file), file.string()};
}

PreprocessConfig load_preprocess(const std::filesystem::path& dir) {
  const ProcessorFile file = load_processor_file(dir);
  return preprocess_from_json(file.json, file.where);
}

}  // namespace mose::vision
