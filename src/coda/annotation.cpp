#include "mose/coda/annotation.h"

#include <algorithm>
#include <cmath>

#include "mose/coda/image_size.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::coda {

namespace fs = std::filesystem;

namespace {

constexpr const char* kBoth = "description and explanation";
constexpr const char* kSplits[] = {"Train", "Val", "Test", "Mini"};

// Releases of the set spell keys with spaces ("traffic signs") or underscores.
std::string underscored(const std::string& key) { return replace_all(to_lower(key), " ", "_"); }

// "val_0001" -> {"val", "0001"}
std::pair<std::string, std::string> parts_of(const std::string& id, const fs::path& file) {
  const size_t at = id.find('_');
  if (at == std::string::npos || at == 0 || at + 1 == id.size()) {
    throw DataError(str(file.string(), ": file name: expected {val,test}_NNNN.json, found \"",
                        file.filename().string(), "\""));
  }
  return {id.substr(0, at), id.substr(at + 1)};
}

std::vector<Entry> parse_entries(const Json& list, const std::string& where) {
  std::vector<Entry> entries;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string here = str(where, "[", i, "]");
    entries.push_back({json_string(list[i], "description", here),
                       json_string(list[i], "explanation", here)});
  }
  return entries;
}

void parse_general(const Json& general, const std::string& file, Annotation& annotation) {
  const std::string where = str(file, ": general_perception");
  annotation.summary = json_string(general, kBoth, where);
  for (const auto& [key, value] : general.items()) {
    if (key == kBoth) continue;
    const std::string name = underscored(key);
    const auto end = kGeneralCategories.end();
    if (std::find(kGeneralCategories.begin(), end, name) == end) {
      const std::string near = nearest_name(
          name, std::vector<std::string>(kGeneralCategories.begin(), kGeneralCategories.end()));
      throw DataError(str(where, ": field \"", key, "\": not one of the seven categories",
                          near.empty() ? "" : str(", nearest is \"", near, "\"")));
    }
    json_array(general, key, where);
    annotation.general[name] = parse_entries(value, str(where, ".", key));
  }
  for (const char* name : kGeneralCategories) {
    if (!annotation.general.count(name)) {
      throw DataError(str(where, ": field \"", name, "\" is missing"));
    }
  }
}

Box parse_box(const Json& region, const std::string& where) {
  const Json& list = json_array(region, "box", where);
  if (list.size() != 4) {
    throw DataError(str(where, ": field \"box\": expected [x, y, w, h], found ", list.size(),
                        " values"));
  }
  double values[4];
  for (size_t i = 0; i < 4; ++i) {
    if (!list[i].is_number()) {
      throw DataError(str(where, ": field \"box\"[", i, "]: expected a number, found ",
                          list[i].type_name()));
    }
    values[i] = list[i].get<double>();
  }
  const Box box{values[0], values[1], values[2], values[3]};
  if (!(box.w > 0) || !(box.h > 0)) {
    throw DataError(str(where, ": field \"box\": expected a box with an area, found width ", box.w,
                        " and height ", box.h));
  }
  return box;
}

void check_boxes(const Annotation& annotation, const fs::path& image) {
  const ImageSize size = image_size(image);
  for (const Region& region : annotation.regions) {
    const Box& b = region.box;
    constexpr double kTolerance = 1;  // CODA's boxes are rounded
    if (b.x < -kTolerance || b.y < -kTolerance ||
        b.x + b.w > static_cast<double>(size.width) + kTolerance ||
        b.y + b.h > static_cast<double>(size.height) + kTolerance) {
      throw DataError(str(annotation.file.string(), ": region_perception.", region.index,
                          ": field \"box\": [", b.x, ", ", b.y, ", ", b.w, ", ", b.h,
                          "] lies outside the image ", image.string(), " (", size.width, " x ",
                          size.height, ")"));
    }
  }
}

int64_t region_number(const std::string& index) {
  const bool digits = !index.empty() && index.size() < 10 &&
                      std::all_of(index.begin(), index.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? std::stoll(index) : -1;
}

}  // namespace

std::string split_name(const std::string& split) {
  for (const char* name : kSplits) {
    if (to_lower(split) == to_lower(name)) return name;
  }
  throw UsageError(str("split \"", split, "\": expected Train, Val, Test or Mini"));
}

std::vector<fs::path> list_annotations(const fs::path& root, const std::string& split) {
  const fs::path dir = root / "CODA-LM" / split_name(split);
  if (!fs::is_directory(dir)) {
    throw DataError(str(dir.string(), ": no such folder; expected CODA-LM/<Split>/*.json under ",
                        root.string()));
  }
  std::vector<fs::path> files;
  for (const auto& item : fs::directory_iterator(dir)) {
    if (item.is_regular_file() && item.path().extension() == ".json") files.push_back(item.path());
  }
  if (files.empty()) throw DataError(str(dir.string(), ": holds no annotation (*.json)"));
  std::sort(files.begin(), files.end());
  return files;
}

Annotation parse_annotation(const Json& json, const fs::path& file) {
  Annotation annotation;
  const std::string where = file.string();
  annotation.file = file;
  annotation.id = file.stem().string();
  const auto [folder, number] = parts_of(annotation.id, file);
  annotation.image = fs::path(folder) / "images" / (number + ".jpg");
  parse_general(json_object(json, "general_perception", where), where, annotation);
  const Json& regions = json_object(json, "region_perception", where);
  for (const auto& [index, value] : regions.items()) {
    const std::string here = str(where, ": region_perception.", index);
    if (region_number(index) < 0) {
      throw DataError(str(here, ": field name: expected a number such as \"1\""));
    }
    json_object(regions, index, str(where, ": region_perception"));
    annotation.regions.push_back({index, parse_box(value, here),
                                  json_string(value, "category_name", here),
                                  json_string(value, kBoth, here)});
  }
  std::stable_sort(annotation.regions.begin(), annotation.regions.end(),
                   [](const Region& a, const Region& b) {
                     return region_number(a.index) < region_number(b.index);
                   });
  annotation.driving_suggestion = json_string(json, "driving_suggestion", where);
  return annotation;
}

Annotation load_annotation(const fs::path& file) {
  Annotation annotation = parse_annotation(load_json(file), file);
  // ROOT/CODA-LM/<Split>/x.json; an annotation elsewhere has no image to be checked against.
  const fs::path image = fs::absolute(file).parent_path().parent_path().parent_path() /
                         annotation.image;
  std::error_code code;
  if (fs::exists(image, code)) check_boxes(annotation, image);
  return annotation;
}

Json annotation_to_json(const Annotation& annotation) {
  Json general = Json::object();
  for (const char* name : kGeneralCategories) {
    Json list = Json::array();
    const auto it = annotation.general.find(name);
    if (it != annotation.general.end()) {
      for (const Entry& entry : it->second) {
        list.push_back({{"description", entry.description}, {"explanation", entry.explanation}});
      }
    }
    general[name] = std::move(list);
  }
  general[kBoth] = annotation.summary;
  Json regions = Json::object();
  for (const Region& region : annotation.regions) {
    const auto number = [](double v) { return v == std::floor(v) ? Json(std::llround(v)) : Json(v); };
    const Box& b = region.box;
    regions[region.index] = {
        {kBoth, region.text},
        {"box", Json::array({number(b.x), number(b.y), number(b.w), number(b.h)})},
        {"category_name", region.category_name}};
  }
  return {{"general_perception", std::move(general)},
          {"region_perception", std::move(regions)},
          {"driving_suggestion", annotation.driving_suggestion}};
}

}  // namespace mose::coda
