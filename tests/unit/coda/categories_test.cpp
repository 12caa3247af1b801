#include <gtest/gtest.h>

#include <map>
#include <set>

#include "mose/coda/annotation.h"

namespace mose::coda {
namespace {

TEST(RegionClass, EveryCategoryBelongsToOneOfSeven) {
  std::map<std::string, int> count;
  for (const std::string& name : category_names()) ++count[region_class(name)];
  const std::map<std::string, int> expected = {{"vehicle", 8}, {"vru", 8},   {"cone", 1},          {"barrier", 2},
                                               {"sign", 2},    {"light", 1}, {"miscellaneous", 21}};
  EXPECT_EQ(count, expected);
}

TEST(RegionClass, NamesAreDistinct) {
  const auto& names = category_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

TEST(RegionClass, ToleratesCaseSpacesAndTheUsualSpelling) {
  EXPECT_EQ(region_class("Traffic Cone"), "cone");
  EXPECT_EQ(region_class("CONSTRUCTION_VEHICLE"), "vehicle");
  EXPECT_EQ(region_class("suitcase"), region_class("suitcace"));
}

TEST(RegionClass, IsEmptyForAnUnknownName) {
  EXPECT_EQ(region_class("spaceship"), "");
  EXPECT_EQ(region_class(""), "");
}

}  // namespace
}  // namespace mose::coda
