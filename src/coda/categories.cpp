#include <array>
#include <utility>

#include "mose/coda/annotation.h"
#include "mose/core/strings.h"

namespace mose::coda {

namespace {

// CODA2022's names ("suitcace" is its own spelling) under the classes of CODA-LM's region scores.
constexpr std::array<std::pair<const char*, const char*>, 43> kClasses = {{
    {"car", "vehicle"},
    {"truck", "vehicle"},
    {"tram", "vehicle"},
    {"tricycle", "vehicle"},
    {"bus", "vehicle"},
    {"trailer", "vehicle"},
    {"construction_vehicle", "vehicle"},
    {"recreational_vehicle", "vehicle"},
    {"pedestrian", "vru"},
    {"cyclist", "vru"},
    {"bicycle", "vru"},
    {"moped", "vru"},
    {"motorcycle", "vru"},
    {"stroller", "vru"},
    {"wheelchair", "vru"},
    {"cart", "vru"},
    {"traffic_cone", "cone"},
    {"barrier", "barrier"},
    {"bollard", "barrier"},
    {"traffic_sign", "sign"},
    {"warning_sign", "sign"},
    {"traffic_light", "light"},
    {"basket", "miscellaneous"},
    {"cardboard", "miscellaneous"},
    {"carton", "miscellaneous"},
    {"cat", "miscellaneous"},
    {"chair", "miscellaneous"},
    {"concrete_block", "miscellaneous"},
    {"debris", "miscellaneous"},
    {"dog", "miscellaneous"},
    {"dustbin", "miscellaneous"},
    {"garbage", "miscellaneous"},
    {"garbage_bag", "miscellaneous"},
    {"machinery", "miscellaneous"},
    {"misc", "miscellaneous"},
    {"phone_booth", "miscellaneous"},
    {"plastic_bag", "miscellaneous"},
    {"sentry_box", "miscellaneous"},
    {"stone", "miscellaneous"},
    {"suitcace", "miscellaneous"},
    {"tire", "miscellaneous"},
    {"traffic_box", "miscellaneous"},
    {"traffic_island", "miscellaneous"},
}};

}  // namespace

std::string region_class(const std::string& category_name) {
  std::string name = replace_all(to_lower(trim(category_name)), " ", "_");
  if (name == "suitcase") name = "suitcace";
  for (const auto& [category, region] : kClasses) {
    if (name == category) return region;
  }
  return "";
}

const std::vector<std::string>& category_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& item : kClasses) all.push_back(item.first);
    return all;
  }();
  return names;
}

}  // namespace mose::coda
