// One config with every kind of field: JSON in and out, errors, --set and merging.
#include "mose/core/config.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "support/helpers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"

namespace mose {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Vision {
  int64_t patch = 14;
  void visit(FieldVisitor& v) { v.field("patch", patch, "pixels a patch", 1, 64); }
};

struct Stage {
  std::string name = "stage";
  int64_t steps = 10;
  void visit(FieldVisitor& v) {
    v.field("name", name, "of the stage");
    v.field("steps", steps, "optimizer steps", 0);
  }
};

struct Config {
  bool tied = false;
  int64_t layers = 6;
  double dropout = 0.5;
  std::string router = "topk";
  std::vector<std::string> words = {"a"};
  std::vector<int64_t> sizes = {1, 2};
  std::vector<double> scales = {0.5};
  Json table = Json::object();
  Vision vision;
  std::optional<Vision> second;
  std::vector<Stage> stages;

  void visit(FieldVisitor& v) {
    v.field("tied", tied, "tie the embedding");
    v.field("layers", layers, "number of blocks", 1, 1000);
    v.field("dropout", dropout, "drop probability", 0, 1);
    v.field("router", router, "type", {"topk", "skill", "hierarchical_skill"});
    v.field("words", words, "some words");
    v.field("sizes", sizes, "some sizes");
    v.field("scales", scales, "some scales");
    v.field("table", table, "free JSON");
    v.group("vision", vision, "the tower");
    v.group("second", second, "a second tower");
    v.list("stages", stages, "of the recipe");
  }
};

void read(Config& config, const char* text) {
  from_json_config(config, Json::parse(text), "x.json");
}

// The message of the UsageError that reading `text` throws.
std::string error_of(const char* text) {
  Config config;
  return message_of<UsageError>([&] { read(config, text); });
}

TEST(Config, EveryFieldSurvivesAWriteAndARead) {
  const char* text = R"({"tied": true, "layers": 12, "dropout": 0.25, "router": "skill",
    "words": ["x", "y"], "sizes": [3], "scales": [], "table": {"a": [1, null]},
    "vision": {"patch": 16}, "second": {"patch": 8},
    "stages": [{"name": "router", "steps": 5}, {"name": "finetune", "steps": 7}]})";
  Config config;
  read(config, text);
  EXPECT_EQ(to_json_config(config), Json::parse(text));
  Config again;
  from_json_config(again, to_json_config(config), "again");
  EXPECT_EQ(to_json_config(again), Json::parse(text));
}

TEST(Config, AbsentFieldsKeepTheirValues) {
  Config config;
  read(config, R"({"layers": 3, "vision": {}})");
  EXPECT_EQ(config.layers, 3);
  EXPECT_EQ(config.dropout, 0.5);
  EXPECT_EQ(config.vision.patch, 14);
  EXPECT_FALSE(config.second.has_value());
  EXPECT_EQ(to_json_config(config)["second"], nullptr);
}

TEST(Config, NullRemovesAnOptionalGroup) {
  Config config;
  config.second.emplace();
  read(config, "{}");
  EXPECT_TRUE(config.second.has_value());
  read(config, R"({"second": null})");
  EXPECT_FALSE(config.second.has_value());
}

TEST(Config, AWholeFloatIsAnInteger) {
  Config config;
  read(config, R"({"layers": 3.0})");
  EXPECT_EQ(config.layers, 3);
}

TEST(Config, AnUnknownKeyNamesItsPathAndTheNearestKnownOne) {
  EXPECT_THAT(
      error_of(R"({"layer": 3})"),
      AllOf(HasSubstr("x.json"), HasSubstr("unknown key \"layer\""), HasSubstr("\"layers\"")));
  EXPECT_THAT(error_of(R"({"vision": {"pach": 3}})"),
              AllOf(HasSubstr("\"vision.pach\""), HasSubstr("\"vision.patch\"")));
  EXPECT_THAT(error_of(R"({"stages": [{}, {"step": 3}]})"),
              AllOf(HasSubstr("\"stages.1.step\""), HasSubstr("\"stages.1.steps\"")));
  EXPECT_THAT(error_of(R"({"qwertyuiop": 3})"), HasSubstr("known here: tied, layers"));
}

TEST(Config, AWrongTypeNamesKeyExpectedAndFound) {
  EXPECT_THAT(error_of(R"({"layers": "six"})"),
              AllOf(HasSubstr("layers"), HasSubstr("an integer"), HasSubstr("\"six\"")));
  EXPECT_THAT(error_of(R"({"layers": 6.5})"), HasSubstr("an integer"));
  EXPECT_THAT(error_of(R"({"layers": 18446744073709551615})"), HasSubstr("an integer"));
  EXPECT_THAT(error_of(R"({"sizes": [18446744073709551615]})"), HasSubstr("a list of integers"));
  EXPECT_THAT(error_of(R"({"tied": 1})"), HasSubstr("true or false"));
  EXPECT_THAT(error_of(R"({"dropout": "0.1"})"), HasSubstr("a number"));
  EXPECT_THAT(error_of(R"({"router": 3})"), HasSubstr("a string"));
  EXPECT_THAT(error_of(R"({"words": ["a", 1]})"), HasSubstr("a list of strings"));
  EXPECT_THAT(error_of(R"({"vision": 3})"), HasSubstr("an object"));
  EXPECT_THAT(error_of(R"({"stages": {}})"), HasSubstr("a list"));
  EXPECT_THAT(error_of(R"({"stages": [3]})"), HasSubstr("stages.0"));
  EXPECT_THAT(error_of("[1]"), HasSubstr("an object"));
}

TEST(Config, AValueOutOfRangeNamesTheRange) {
  EXPECT_THAT(error_of(R"({"layers": 0})"), AllOf(HasSubstr("layers = 0"), HasSubstr("1 to 1000")));
  EXPECT_THAT(error_of(R"({"dropout": 1.5})"), HasSubstr("0 to 1"));
  EXPECT_THAT(error_of(R"({"stages": [{"steps": -1}]})"),
              AllOf(HasSubstr("stages.0.steps"), HasSubstr("at least 0")));
}

TEST(Config, AWrongChoiceNamesTheChoicesAndTheNearest) {
  EXPECT_THAT(error_of(R"({"router": "skil"})"), AllOf(HasSubstr("topk, skill, hierarchical_skill"),
                                                       HasSubstr("did you mean \"skill\"")));
}

TEST(ApplySet, ReachesNestedKeysAndListItemsByIndexOrName) {
  Json json = Json::parse(
      R"({"model": {"layers": 2}, "stages": [{"name": "router", "steps": 1}, {"steps": 2}]})");
  apply_set(json, "model.layers=6");
  apply_set(json, "stages.router.steps=10");
  apply_set(json, "stages.1.steps=20");
  apply_set(json, "new.path=[1, 2]");
  apply_set(json, "text=plain words");
  apply_set(json, "equation=a=b");
  EXPECT_EQ(json, Json::parse(R"({"model": {"layers": 6},
    "stages": [{"name": "router", "steps": 10}, {"steps": 20}],
    "new": {"path": [1, 2]}, "text": "plain words", "equation": "a=b"})"));
}

TEST(ApplySet, RefusesItemsThatReachNothing) {
  Json json = Json::parse(R"({"layers": 2, "stages": [{"name": "router"}]})");
  EXPECT_THAT(message_of<UsageError>([&] { apply_set(json, "layers"); }), HasSubstr("key=value"));
  EXPECT_THAT(message_of<UsageError>([&] { apply_set(json, "=3"); }), HasSubstr("key=value"));
  EXPECT_THAT(message_of<UsageError>([&] { apply_set(json, "layers.x=3"); }), HasSubstr("\"x\""));
  EXPECT_THAT(message_of<UsageError>([&] { apply_set(json, "stages.finetune.steps=3"); }),
              HasSubstr("\"finetune\""));
}

TEST(LoadConfig, LaterFilesWinObjectsMergeListsAreReplacedAndSetsWinOverAll) {
  const TemporaryFolder folder;
  const std::string first = (folder.path / "first.json").string();
  const std::string second = (folder.path / "second.json").string();
  write_file(first,
             R"({"layers": 3, "dropout": 0.1, "sizes": [1, 2, 3], "vision": {"patch": 16}})");
  write_file(second, R"({"layers": 4, "sizes": [9], "table": {"k": 1}})");
  const Config config = load_config<Config>({first, second}, {"layers=5", "router=skill"});
  EXPECT_EQ(config_sources({first, second}, {"layers=5"}), first + " + " + second + " + --set");
  EXPECT_THAT(message_of<UsageError>([&] { load_config<Config>({first}, {"layer=5"}); }),
              AllOf(HasSubstr(first + " + --set"), HasSubstr("unknown key \"layer\"")));
  EXPECT_EQ(config.layers, 5);
  EXPECT_EQ(config.dropout, 0.1);
  EXPECT_THAT(config.sizes, ElementsAre(9));
  EXPECT_EQ(config.vision.patch, 16);
  EXPECT_EQ(config.router, "skill");
}

TEST(LoadConfig, AMissingOrMalformedFileIsADataErrorNamingIt) {
  const TemporaryFolder folder;
  const std::string bad = (folder.path / "bad.json").string();
  write_file(bad, "{\"layers\": 3,\n");
  EXPECT_THAT(message_of<DataError>([&] { load_config<Config>({bad}, {}); }),
              AllOf(HasSubstr(bad), HasSubstr("line 2")));
  EXPECT_THAT(message_of<DataError>([&] { load_config<Config>({bad + "x"}, {}); }),
              HasSubstr(bad + "x"));
}

TEST(ConfigReference, HasOneRowForEveryField) {
  const std::string table = config_reference<Config>();
  for (const char* row :
       {"`tied`", "`layers` | int | `6` | 1 to 1000 | number of blocks", "`vision.patch`",
        "`second.patch`", "`stages[].name`", "`stages[].steps` | int | `10` | at least 0"}) {
    EXPECT_THAT(table, HasSubstr(row));
  }
}

}  // namespace
}  // namespace mose
