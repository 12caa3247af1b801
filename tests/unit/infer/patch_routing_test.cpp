#include "mose/infer/patch_routing.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "support/helpers.h"
#include "support/tiny_model.h"

namespace mose::infer {
namespace {

std::shared_ptr<models::VisionLanguageModel> sparse_model(const std::string& router = "hierarchical_skill") {
  auto config = tests::tiny_config();
  config.language.moe = tests::tiny_moe(router);
  return models::make_model(config, 8, &tests::taxonomy());
}

Prompt prompt(std::vector<int64_t> after = {4, 5}) {
  torch::manual_seed(2);
  Prompt p{{1, 299, 299}, {{torch::randn({1, 3, 32, 64}), {2}}}};
  p.tokens.insert(p.tokens.end(), after.begin(), after.end());
  return p;
}

TEST(PatchRouting, TakesTheFramesRowsAlone) {
  language::LayerRouting layer;
  layer.layer = 6;
  layer.routing.experts_TK = torch::tensor({9, 0, 3, 1, 2, 0, 0, 3, 1, 2, 1, 0, 3, 3, 9, 9}).view({8, 2});
  layer.routing.skill_logits_TS = torch::tensor({5.0, 0.0, 1.0, 2.0, 4.0, 3.0, 0.0, 1.0, 1.0, 0.0, 0.0, 7.0, 6.0, 5.0, 9.0, 0.0}).view({8, 2});
  const PatchRouting found = patch_routing(layer, 1, 3, 2);
  EXPECT_EQ(found.layer, 6);
  EXPECT_EQ(found.expert, (std::vector<int64_t>{3, 2, 0, 1, 1, 3}));
  EXPECT_EQ(found.skill, (std::vector<int64_t>{1, 0, 1, 0, 1, 0}));
  layer.routing.skill_logits_TS.reset();
  EXPECT_EQ(patch_routing(layer, 1, 3, 2).skill, std::vector<int64_t>(6, -1));
}

TEST(PatchRouting, IsThatOfTheWholePassAndNotOfTheQuestion) {
  auto model = sparse_model();
  const auto found = route_patches(*model, prompt());
  const torch::NoGradGuard no_grad;
  const Prompt p = prompt();
  const auto outputs = model->forward(torch::tensor(p.tokens), nn::make_plan({5}), model->encode_images(p.pictures[0].tiles_NCHW).rows_RD);
  ASSERT_EQ(found.size(), outputs.routings.size());
  ASSERT_GT(found.size(), 0u);
  for (size_t i = 0; i < found.size(); ++i) {
    const auto& routing = outputs.routings[i].routing;
    EXPECT_EQ(found[i].layer, outputs.routings[i].layer);
    EXPECT_EQ(found[i].across, 2);
    EXPECT_EQ(found[i].down, 1);
    for (int64_t cell = 0; cell < 2; ++cell) {
      EXPECT_EQ(found[i].expert[static_cast<size_t>(cell)], routing.probabilities_TE[1 + cell].argmax().item<int64_t>());
      EXPECT_EQ(found[i].skill[static_cast<size_t>(cell)], (*routing.skill_logits_TS)[1 + cell].argmax().item<int64_t>());
    }
    EXPECT_EQ(route_patches(*model, prompt({7, 8, 9}))[i].expert, found[i].expert);
  }
}

TEST(PatchRouting, ExpertsAreNamedByTheirSkills) {
  const auto model = sparse_model();
  const auto names = expert_names(*model, tests::taxonomy());
  ASSERT_EQ(names.size(), 4);
  for (size_t s = 0; s < tests::taxonomy().skills().size(); ++s) {
    for (size_t e = 0; e < 4; ++e) {
      const bool own = model->skill_map().assignment_SE[static_cast<int64_t>(s)][static_cast<int64_t>(e)].item<double>() > 0;
      EXPECT_EQ((names[e] + ",").find(" " + tests::taxonomy().skills()[s].name + ",") != std::string::npos, own) << names[e];
    }
  }
  EXPECT_EQ(expert_names(*sparse_model("topk"), tests::taxonomy())[3], "expert 3");
}

TEST(PatchRouting, RefusesWhatHasNoPatchesOrExperts) {
  const auto dense = models::make_model(tests::tiny_config(), 8);
  EXPECT_NE(message_of<UsageError>([&] { route_patches(*dense, prompt()); }).find("no sparse layer"), std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] { route_patches(*sparse_model(), {{1, 2}, {}}); }).find("no picture"), std::string::npos);
}

}  // namespace
}  // namespace mose::infer
