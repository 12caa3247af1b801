#include "mose/coda/annotation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::coda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The message of the DataError that `json` causes as val_0001.json.
std::string error_of(const Json& json) {
  TemporaryFolder dir;
  const auto file = test::write_annotation(dir.path, json);
  return message_of<DataError>([&] { load_annotation(file); });
}

TEST(LoadAnnotation, ReadsEveryField) {
  TemporaryFolder dir;
  const Annotation a = load_annotation(test::write_annotation(dir.path, test::annotation_json()));
  EXPECT_EQ(a.id, "val_0001");
  EXPECT_EQ(a.image, "val/images/0001.jpg");
  EXPECT_EQ(a.general.size(), 7u);
  ASSERT_EQ(a.general.at("vehicles").size(), 1u);
  EXPECT_EQ(a.general.at("vehicles")[0].description, "A white truck stands ahead in our lane.");
  EXPECT_EQ(a.general.at("traffic_cones")[0].explanation, "They close the right lane.");
  EXPECT_TRUE(a.general.at("traffic_signs").empty());
  EXPECT_THAT(a.summary, HasSubstr("It rains"));
  EXPECT_EQ(a.driving_suggestion, "Slow down and change to the left lane.");
}

TEST(LoadAnnotation, OrdersRegionsByNumber) {
  TemporaryFolder dir;
  const Annotation a = load_annotation(test::write_annotation(dir.path, test::annotation_json()));
  ASSERT_EQ(a.regions.size(), 2u);
  EXPECT_EQ(a.regions[0].index, "2");
  EXPECT_EQ(a.regions[0].category_name, "truck");
  EXPECT_EQ(a.regions[0].box.w, 90);
  EXPECT_EQ(a.regions[1].index, "10");
  EXPECT_EQ(a.regions[1].box.x, 300.5);
}

TEST(LoadAnnotation, WritingAndReadingAgainGivesTheSame) {
  TemporaryFolder dir;
  const auto file = test::write_annotation(dir.path, test::annotation_json());
  const Json once = annotation_to_json(load_annotation(file));
  const Json twice = annotation_to_json(parse_annotation(once, file));
  EXPECT_EQ(once, twice);
  EXPECT_EQ(once["region_perception"]["2"]["box"], Json::parse("[100, 80, 90, 60]"));
  EXPECT_EQ(once["region_perception"]["10"]["box"][0], 300.5);
}

TEST(LoadAnnotation, NamesTheMissingField) {
  for (const char* key : {"general_perception", "region_perception", "driving_suggestion"}) {
    Json json = test::annotation_json();
    json.erase(key);
    EXPECT_THAT(error_of(json), AllOf(HasSubstr("val_0001.json"), HasSubstr(key), HasSubstr("missing")));
  }
  Json json = test::annotation_json();
  json["general_perception"].erase("barriers");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("barriers"), HasSubstr("missing")));
  json = test::annotation_json();
  json["general_perception"]["vehicles"][0].erase("explanation");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("vehicles[0]"), HasSubstr("explanation")));
  json = test::annotation_json();
  json["region_perception"]["2"].erase("category_name");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("region_perception.2"), HasSubstr("category_name")));
}

TEST(LoadAnnotation, NamesTheFieldOfAWrongType) {
  Json json = test::annotation_json();
  json["driving_suggestion"] = 3;
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("val_0001.json"), HasSubstr("driving_suggestion"),
                                    HasSubstr("expected a string"), HasSubstr("number")));
  json = test::annotation_json();
  json["general_perception"]["barriers"] = "none";
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("barriers"), HasSubstr("expected an array")));
  json = test::annotation_json();
  json["region_perception"]["2"]["box"] = Json::parse("[1, 2, 3]");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("region_perception.2"), HasSubstr("found 3 values")));
  json["region_perception"]["2"]["box"] = Json::parse("[1, 2, \"3\", 4]");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("\"box\"[2]"), HasSubstr("found string")));
}

TEST(LoadAnnotation, NamesAnUnknownCategoryAndTheNearest) {
  Json json = test::annotation_json();
  json["general_perception"]["barrier"] = Json::array();
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("\"barrier\""), HasSubstr("nearest is \"barriers\"")));
}

TEST(LoadAnnotation, RefusesATruncatedFile) {
  TemporaryFolder dir;
  const auto file = test::write_annotation(dir.path, test::annotation_json());
  write_file(file, read_file(file).substr(0, 200));
  try {
    load_annotation(file);
    FAIL() << "expected a DataError";
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("val_0001.json"), HasSubstr("not valid JSON")));
    EXPECT_EQ(e.exit_code(), 3);
  }
}

TEST(LoadAnnotation, RefusesABoxOutsideItsImageButForOnePixel) {
  Json json = test::annotation_json();
  json["region_perception"]["2"]["box"] = Json::parse("[541, 301, 100, 60]");  // ends at 641 x 361
  { TemporaryFolder dir; EXPECT_NO_THROW(load_annotation(test::write_annotation(dir.path, json))); }
  json["region_perception"]["2"]["box"] = Json::parse("[541, 301, 101.5, 60]");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("region_perception.2"), HasSubstr("\"box\""),
                                    HasSubstr("outside the image"), HasSubstr("640 x 360")));
  json["region_perception"]["2"]["box"] = Json::parse("[-2, 0, 10, 10]");
  EXPECT_THAT(error_of(json), HasSubstr("outside the image"));
}

TEST(LoadAnnotation, RefusesAnEmptyBox) {
  Json json = test::annotation_json();
  json["region_perception"]["2"]["box"] = Json::parse("[10, 10, 0, 10]");
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("\"box\""), HasSubstr("found width 0")));
}

TEST(LoadAnnotation, RefusesAFileNameWithoutANumber) {
  EXPECT_THROW(parse_annotation(test::annotation_json(), "scene.json"), DataError);
}

TEST(SplitName, AcceptsAnyLetterCase) {
  EXPECT_EQ(split_name("train"), "Train");
  EXPECT_EQ(split_name("MINI"), "Mini");
  EXPECT_THROW(split_name("dev"), UsageError);
}

TEST(ListAnnotations, SortsByNameAndNamesAMissingFolder) {
  TemporaryFolder dir;
  for (const char* id : {"val_0010", "val_0002"}) test::write_annotation(dir.path, test::annotation_json(), id);
  std::filesystem::create_directories(dir.path / "CODA-LM/Train/vqa_anno");
  const auto files = list_annotations(dir.path, "train");
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].filename(), "val_0002.json");
  EXPECT_THROW(list_annotations(dir.path, "Val"), DataError);
  std::filesystem::create_directories(dir.path / "CODA-LM/Val");
  EXPECT_THROW(list_annotations(dir.path, "Val"), DataError);
}

}  // namespace
}  // namespace mose::coda
