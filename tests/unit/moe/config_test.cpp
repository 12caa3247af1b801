#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mose/core/config.h"
#include "mose/core/error.h"
#include "mose/moe/layer.h"
#include "support/helpers.h"

namespace mose::moe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Config placed(const std::string& placement, std::vector<int64_t> layers = {}) {
  Config config;
  config.placement = placement;
  config.layers = std::move(layers);
  return config;
}

TEST(MoePlacement, NamesTheSparseLayers) {
  EXPECT_THAT(sparse_layers(placed("alternate"), 5), ElementsAre(0, 2, 4));
  EXPECT_THAT(sparse_layers(placed("all"), 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(sparse_layers(placed("first_half"), 5), ElementsAre(0, 1));
  EXPECT_THAT(sparse_layers(placed("second_half"), 5), ElementsAre(2, 3, 4));
  EXPECT_THAT(sparse_layers(placed("listed", {4, 1}), 5), ElementsAre(1, 4));
  EXPECT_THAT(sparse_layers(placed("listed"), 5), IsEmpty());
}

TEST(MoePlacement, RefusesLayersThatAreNotThere) {
  EXPECT_THAT(message_of<UsageError>([] { sparse_layers(placed("listed", {0, 5}), 5); }), HasSubstr("layers[1] = 5"));
  EXPECT_THAT(message_of<UsageError>([] { sparse_layers(placed("listed", {-1}), 5); }), HasSubstr("layers[0] = -1"));
  EXPECT_THAT(message_of<UsageError>([] { sparse_layers(placed("listed", {2, 2}), 5); }), HasSubstr("layer 2 twice"));
  EXPECT_THAT(message_of<UsageError>([] { sparse_layers(placed("odd"), 5); }), HasSubstr("\"odd\""));
}

TEST(MoeConfig, ReadsBackWhatItWrites) {
  Config config;
  config.experts = 4;
  config.router = "topk";
  config.placement = "listed";
  config.layers = {1, 3};
  config.assignment = "table";
  config.table = Json{{"vehicle", {0, 1}}};
  config.shared_experts = 1;
  Config read;
  from_json_config(read, to_json_config(config), "test");
  EXPECT_EQ(to_json_config(read), to_json_config(config));
  EXPECT_EQ(read.table["vehicle"], (Json{0, 1}));
}

TEST(MoeConfig, NamesTheNearestKeyAndTheChoices) {
  Config config;
  EXPECT_THAT(message_of<UsageError>([&] { from_json_config(config, Json{{"expert", 4}}, "f.json"); }), HasSubstr("\"experts\""));
  EXPECT_THAT(message_of<UsageError>([&] { from_json_config(config, Json{{"router", "skil"}}, "f.json"); }), HasSubstr("hierarchical_skill"));
  EXPECT_THAT(message_of<UsageError>([&] { from_json_config(config, Json{{"experts", 0}}, "f.json"); }), HasSubstr("experts = 0"));
}

TEST(MoeConfig, FieldsMustFitTogether) {
  auto error = [](auto change) {
    Config config;
    change(config);
    return message_of<UsageError>([&] { check_config(config); });
  };
  EXPECT_NO_THROW(check_config({}));
  EXPECT_THAT(error([](Config& c) { c.top_k = 9; }), HasSubstr("top_k = 9"));
  EXPECT_THAT(error([](Config& c) { c.shared_experts = 8; }), HasSubstr("shared_experts = 8"));
  EXPECT_THAT(error([](Config& c) { c.router = "skill", c.supervise = "split"; }), HasSubstr("stage logits"));
}

TEST(MoeSupervision, SplitTeachesTheUpperHalfSkills) {
  Config config;
  for (int64_t i = 0; i < 5; ++i) {
    config.supervise = "split";
    EXPECT_TRUE(supervision(config, i, 5).stage);
    EXPECT_EQ(supervision(config, i, 5).skill, i >= 2);
    config.supervise = "stage";
    EXPECT_FALSE(supervision(config, i, 5).skill);
    config.supervise = "skill";
    EXPECT_TRUE(supervision(config, i, 5).skill);
  }
}

}  // namespace
}  // namespace mose::moe
