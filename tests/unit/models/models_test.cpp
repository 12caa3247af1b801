#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/models/account.h"
#include "mose/models/bundle.h"
#include "mose/models/upcycle.h"
#include "mose/nn/init.h"
#include "support/tiny_model.h"

namespace mose::models {
namespace {

using tests::tiny_config;
using tests::tiny_moe;

struct Stream {
  torch::Tensor tokens, pixels;
  nn::SequencePlan plan;
};

// Two sequences with an image (2 image tokens) each.
Stream stream() {
  torch::manual_seed(5);
  const auto tokens = torch::tensor({1, 299, 299, 7, 8, 9, 2, 299, 299, 11}, torch::kInt64);
  return {tokens, torch::randn({2, 3, 32, 64}), nn::make_plan({6, 4})};
}

torch::Tensor run(VisionLanguageModel& model, const Stream& s) {
  const torch::NoGradGuard no_grad;
  const auto images = model.encode_images(s.pixels).embeddings_BQD;
  return model.logits(model.forward(s.tokens, s.plan, images).hidden_TD);
}

TEST(Upcycle, SparseModelComputesWhatTheDenseOneDoes) {
  const auto dense = make_model(tiny_config(), 1);
  const auto expected = run(*dense, stream());
  for (const std::string router : {"topk", "skill", "hierarchical_skill"}) {
    auto sparse = upcycle(*dense, tiny_moe(router), tests::taxonomy(), {}, 2);
    EXPECT_TRUE(sparse->sparse());
    EXPECT_TRUE(torch::allclose(run(*sparse, stream()), expected, 1e-5, 1e-6)) << router;
  }
}

TEST(Upcycle, WorksForPhisFfn) {
  Config c = tiny_config();
  c.language.norm = "layer";
  c.language.ffn = "gelu";
  c.language.parallel = c.language.qkv_bias = c.language.out_bias = true;
  const auto dense = make_model(c, 3);
  const auto s = stream();
  const auto want = run(*dense, s);
  const auto sparse = upcycle(*dense, tiny_moe(), tests::taxonomy(), {}, 7);
  EXPECT_LT((run(*sparse, s) - want).abs().max().item<double>(), 1e-5);
  EXPECT_THROW(widen(*dense, tiny_moe(), 7), UsageError);
}

TEST(Upcycle, RefusesASparseModelAndAnotherWidth) {
  const auto dense = make_model(tiny_config(), 1);
  auto moe = tiny_moe();
  moe.intermediate = 7;
  EXPECT_THROW(upcycle(*dense, moe, tests::taxonomy(), {}, 2), UsageError);
  const auto sparse = upcycle(*dense, tiny_moe(), tests::taxonomy(), {}, 2);
  EXPECT_THROW(upcycle(*sparse, tiny_moe(), tests::taxonomy(), {}, 2), UsageError);
}

TEST(Widen, DenseTwinComputesTheSameAndItsNewUnitsLearn) {
  const auto dense = make_model(tiny_config(), 1);
  const auto wide = widen(*dense, tiny_moe(), 2);
  EXPECT_TRUE(torch::allclose(run(*wide, stream()), run(*dense, stream()), 1e-5, 1e-6));
  const auto s = stream();
  const auto gradients = [&](const std::string& part) {
    wide->zero_grad();
    wide->forward(s.tokens, s.plan, wide->encode_images(s.pixels).embeddings_BQD).hidden_TD.pow(2).sum().backward();
    return wide->named_parameters()["model.language_model.layers.0.mlp." + part + "_proj.weight"].grad().clone();
  };
  const auto of_new = [](const torch::Tensor& all, int64_t dim) {
    EXPECT_EQ(all.size(dim), 40);  // twice 20
    return all.narrow(dim, 20, 20);
  };
  EXPECT_EQ(of_new(gradients("gate"), 0).abs().max().item<double>(), 0) << "silent units";
  const auto down = of_new(gradients("down"), 1);
  EXPECT_TRUE((down.abs().amax(0) > 0).all().item<bool>()) << "each new unit's output has a gradient";
  const torch::NoGradGuard no_grad;
  wide->named_parameters()["model.language_model.layers.0.mlp.down_proj.weight"].narrow(1, 20, 20).sub_(0.1 * down);
  const torch::AutoGradMode with_grad(true);
  EXPECT_TRUE((of_new(gradients("gate"), 0).abs().amax(1) > 0).all().item<bool>()) << "after a step they all learn";
}

TEST(Widen, ActivatesAsMuchAsTheSparseTwinRoutersAside) {
  Config sparse = tiny_config(), wide = tiny_config();
  sparse.language.moe = tiny_moe();
  wide.language.ffn_copies = 2;
  wide.language.wide_layers = {0, 2};
  const auto a = account(sparse, 21, 3), b = account(wide, 21, 3);
  EXPECT_EQ(a.activated() - a.routers, b.activated());
}

TEST(Account, CountsWhatTheModelHolds) {
  for (const std::string router : {"", "topk", "skill", "hierarchical_skill"}) {
    for (const bool tied : {true, false}) {
      Config c = tiny_config();
      c.language.tie_embeddings = tied;
      c.language.qkv_bias = tied;
      c.region_categories = {"car", "dog"};
      if (!tied) c.vision.stem = "patch";
      if (!router.empty()) c.language.moe = tiny_moe(router);
      const auto model = make_model(c, 1, &tests::taxonomy());
      const auto a = account(c, static_cast<int64_t>(tests::taxonomy().skills().size()), 3);
      EXPECT_EQ(a.total(), nn::count_parameters(*model)) << router << tied;
      EXPECT_EQ(a.total() - a.activated(), a.region_head + a.experts - a.activated_experts);
    }
  }
  for (const char* tower : {"clip", "siglip"}) {
    Config c = tiny_config();
    c.vision.type = tower;
    EXPECT_EQ(account(c, 21, 3).total(), nn::count_parameters(*make_model(c, 1))) << tower;
  }
  // What released decoders have: Phi's, StableLM's, Llama's biases, Qwen2-MoE's shared expert.
  const std::vector<void (*)(language::Config&)> changes = {
      [](language::Config& l) { l.norm = "layer", l.ffn = "gelu", l.parallel = l.qkv_bias = l.out_bias = l.head_bias = true, l.tie_embeddings = false; },
      [](language::Config& l) { l.norm = "layer", l.head_dim = 8, l.rotary_fraction = 0.5, l.qkv_bias = true; },
      [](language::Config& l) { l.qkv_bias = l.out_bias = l.ffn_bias = true; }};
  for (const auto change : changes) {
    Config c = tiny_config();
    change(c.language);
    EXPECT_EQ(account(c, 21, 3).total(), nn::count_parameters(*make_model(c, 1)));
    c.language.moe = tiny_moe("topk");
    EXPECT_EQ(account(c, 21, 3).total(), nn::count_parameters(*make_model(c, 1, &tests::taxonomy())));
  }
  Config shared = tiny_config();
  shared.language.moe = tiny_moe("topk");
  shared.language.moe->shared_ffn = 10;
  EXPECT_EQ(account(shared, 21, 3).total(), nn::count_parameters(*make_model(shared, 1, &tests::taxonomy())));
  shared.language.moe = tiny_moe();
  shared.language.moe->shared_experts = 1;
  EXPECT_EQ(account(shared, 21, 3).total(), nn::count_parameters(*make_model(shared, 1, &tests::taxonomy())));
}

// The demo's code with other numbers: a tower of CLIP ViT-L's size at 336 pixels and a decoder of 24 layers of
// width 2048, every second one with four experts of which a token uses two.
Config large_config() {
  Config c;
  c.vision.stem = "patch";
  c.vision.image_height = c.vision.image_width = 336;
  c.vision.patch_size = 14;
  c.vision.hidden_size = 1024;
  c.vision.intermediate_size = 4096;
  c.vision.layers = 24;
  c.vision.heads = 16;
  c.projector.merge = 1;
  c.language.vocab_size = 92544;
  c.language.tie_embeddings = false;
  c.language.hidden_size = 2048;
  c.language.intermediate_size = 5632;
  c.language.layers = 24;
  c.language.heads = c.language.kv_heads = 32;
  c.language.moe = tiny_moe();
  c.language.moe->experts = 4;
  c.language.moe->top_k = 2;
  c.language.moe->intermediate = 0;
  return c;
}

TEST(Model, OfTwoBillionActivatedParametersIsBuiltOnTheMetaDevice) {
  const Config c = large_config();
  const nn::InitGuard meta(nn::Init::kMeta);
  const auto model = make_model(c, 1, &tests::taxonomy());
  for (const auto& p : model->named_parameters()) EXPECT_TRUE(p.value().is_meta()) << p.key();
  const auto a = account(c, static_cast<int64_t>(tests::taxonomy().skills().size()), 3);
  EXPECT_EQ(a.total(), nn::count_parameters(*model));
  EXPECT_NEAR(static_cast<double>(a.activated()), 2.3e9, 0.05e9);
  EXPECT_GT(a.total(), a.activated() + 800'000'000);
}

// LLM activated and total, then the whole model, in billions, as MoE-LLaVA's paper lists its four-expert
// models (StableLM, Qwen, Phi-2 with CLIP-L/336, all of whose blocks it counts).
TEST(Account, GivesTheSizesThatMoeLlavaPublished) {
  vision::Config clip;
  clip.type = "clip";
  clip.image_height = clip.image_width = 336;
  clip.patch_size = 14;
  clip.hidden_size = 1024;
  clip.intermediate_size = 4096;
  clip.heads = 16;
  clip.layers = 24;
  struct Shape {
    int64_t vocabulary, width, intermediate, layers, heads;
    bool phi, qwen;
    double language_activated, language_total, activated, total;
  };
  for (const Shape& s : {Shape{100352, 2048, 5632, 24, 32, false, false, 2.060, 2.890, 2.370, 3.200},
                         Shape{151936, 2048, 5504, 24, 16, false, true, 2.243, 3.054, 2.552, 3.364},
                         Shape{51200, 2560, 10240, 32, 32, true, false, 3.619, 5.297, 3.931, 5.610}}) {
    Config c;
    c.vision = clip;
    c.projector.merge = 1;
    auto& l = c.language;
    l.vocab_size = s.vocabulary;
    l.hidden_size = s.width;
    l.intermediate_size = s.intermediate;
    l.layers = s.layers;
    l.heads = l.kv_heads = s.heads;
    l.qkv_bias = true;
    l.tie_embeddings = false;
    if (!s.qwen) l.norm = "layer";
    if (s.phi) {
      l.ffn = "gelu";
      l.parallel = l.out_bias = true;
    }
    l.moe = moe::Config{};
    l.moe->experts = 4;
    l.moe->router = "deepspeed095";
    const Account a = account(c, 21, 3);
    const auto billions = [](int64_t n) { return static_cast<double>(n) / 1e9; };
    EXPECT_NEAR(billions(a.language_activated()), s.language_activated, 0.0011) << s.width;
    EXPECT_NEAR(billions(a.language_total()), s.language_total, 0.0011) << s.width;
    EXPECT_NEAR(billions(a.activated()), s.activated, 0.0025) << s.width;
    EXPECT_NEAR(billions(a.total()), s.total, 0.0025) << s.width;
  }
}

// The recipes for released checkpoints: models under 3 B activated parameters, each built whole.
TEST(Recipes, ForReleasedCheckpointsBuildOnTheMetaDevice) {
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  for (const char* name : {"qwen2_5_1_5b_x4", "stablelm_2_1_6b_x4", "qwen1_5_1_8b_x4"}) {
    const std::string file = str("recipes/coda_", name, ".json");
    const Json json = load_json(resource(file));
    Config config;
    from_json_config(config, json["model"], file);
    moe::Config moe;
    from_json_config(moe, json["moe"], file);
    config.language.moe = moe;
    const nn::InitGuard meta(nn::Init::kMeta);
    const auto model = make_model(config, 1, &taxonomy);
    const Account a = account(model->config(), static_cast<int64_t>(taxonomy.skills().size()), 3);
    EXPECT_EQ(a.total(), nn::count_parameters(*model)) << name;
    EXPECT_LT(a.activated(), 3e9) << name;
    EXPECT_GT(a.total(), a.activated()) << name;
  }
}

TEST(Model, IsBuiltAsTheGuardSaysAndDrawnAgainAfterIt) {
  const auto drawn = make_model(tiny_config(), 1);
  {
    const nn::InitGuard empty(nn::Init::kEmpty);
    EXPECT_EQ(nn::count_parameters(*make_model(tiny_config(), 1)), nn::count_parameters(*drawn));
  }
  const auto again = make_model(tiny_config(), 1);
  for (const auto& p : drawn->named_parameters()) {
    EXPECT_TRUE(torch::equal(p.value(), again->named_parameters()[p.key()])) << p.key();
  }
}

TEST(Model, NeighboursInABatchChangeNothing) {
  const auto model = make_model(tiny_config(), 1);
  const auto s = stream();
  const auto both = run(*model, s);
  const Stream second = {s.tokens.narrow(0, 6, 4), s.pixels.narrow(0, 1, 1), nn::make_plan({4})};
  EXPECT_TRUE(torch::allclose(run(*model, second), both.narrow(0, 6, 4), 1e-5, 1e-6));
}

TEST(Model, RefusesAStreamWhoseImageTokensDoNotFitTheImages) {
  const auto model = make_model(tiny_config(), 1);
  auto s = stream();
  s.pixels = s.pixels.narrow(0, 0, 1);
  EXPECT_THROW(run(*model, s), Error);
}

class BundleTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  Bundle sparse_bundle() {
    auto tokenizer = tests::tiny_tokenizer();
    Config c = tiny_config();
    c.language.vocab_size = tokenizer.vocabulary_size();
    c.image_token_id = tokenizer.token_to_id("<image>");
    c.language.moe = tiny_moe();
    vision::PreprocessConfig preprocess;
    preprocess.width = 64;
    preprocess.height = 32;
    return {make_model(c, 4, &tests::taxonomy(), std::vector<double>(tests::taxonomy().skills().size(), 1.0)),
            std::move(tokenizer), preprocess, tests::taxonomy()};
  }
  std::filesystem::path dir_ = std::filesystem::temp_directory_path() / "mose_bundle_test";
};

TEST_F(BundleTest, RoundTripKeepsEveryWeightAndTheAssignment) {
  const Bundle saved = sparse_bundle();
  save_bundle(dir_, saved);
  const Bundle loaded = load_bundle(dir_);
  const auto a = weights_for_file(*saved.model), b = weights_for_file(*loaded.model);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, value] : a) EXPECT_TRUE(torch::equal(value, b.at(name))) << name;
  EXPECT_TRUE(torch::equal(saved.model->skill_map().assignment_SE, loaded.model->skill_map().assignment_SE));
  EXPECT_EQ(loaded.preprocess.width, 64);
  EXPECT_TRUE(io::StateDict::open(dir_).has("model.language_model.layers.0.mlp.experts.3.gate_proj.weight"));
  save_bundle(dir_, loaded);  // replaces what is there
  EXPECT_EQ(io::hash_tensors(weights_for_file(*load_bundle(dir_).model)), io::hash_tensors(a));
}

TEST_F(BundleTest, ReplacesNothingButAModel) {
  std::filesystem::create_directories(dir_);
  write_file(dir_ / "notes.txt", "mine");
  EXPECT_THROW(save_bundle(dir_, sparse_bundle()), UsageError);
  EXPECT_EQ(read_file(dir_ / "notes.txt"), "mine");
  std::filesystem::remove_all(dir_);
  save_bundle(dir_ / "", sparse_bundle());  // a trailing slash
  EXPECT_NO_THROW(load_header(dir_));
}

TEST_F(BundleTest, NamesWhatIsWrong) {
  save_bundle(dir_, sparse_bundle());
  auto message = [&] {
    try {
      load_bundle(dir_);
    } catch (const DataError& e) {
      return std::string(e.what());
    }
    return std::string("loaded");
  };
  const std::string config = read_file(dir_ / "config.json");
  auto json = parse_json(config, "config.json");
  json["language"]["hidden_size"] = 32;
  save_json(dir_ / "config.json", json);
  EXPECT_NE(message().find("expected shape"), std::string::npos) << message();
  json["language"]["hiden_size"] = 24;
  save_json(dir_ / "config.json", json);
  EXPECT_NE(message().find("did you mean \"language.hidden_size\""), std::string::npos) << message();
  write_file(dir_ / "config.json", config);
  const std::string weights = read_file(dir_ / "model.safetensors");
  write_file(dir_ / "model.safetensors", weights.substr(0, weights.size() / 2));
  EXPECT_NE(message().find("model.safetensors"), std::string::npos) << message();
}

TEST(Calibrate, RowsAndRegionLogitsStartFromTheData) {
  auto config = tests::tiny_config();
  config.region_categories = {"car", "dog"};
  auto model = make_model(config, 3);
  torch::manual_seed(1);
  const auto pixels = torch::randn({8, 3, config.vision.image_height, config.vision.image_width}) + 2;
  auto regions = torch::zeros({8, config.vision.patches(), 2});
  regions.select(1, 0).select(1, 0).fill_(1);  // a car on the first patch of every image, no dog anywhere
  model->calibrate(pixels, regions, 4);
  const torch::NoGradGuard no_grad;
  const auto rows = model->encode_images(pixels).embeddings_BQD.flatten(0, 1);
  EXPECT_LT(rows.mean(0).abs().max().item<double>(), 1e-3);
  EXPECT_NEAR(rows.std(0).mean().item<double>(), 0.1, 2e-3);
  const auto bias = model->named_parameters()["region_head.bias"];
  const double share = 1.0 / static_cast<double>(config.vision.patches());
  EXPECT_NEAR(bias[0].item<double>(), std::log(4 * share / (1 - share)), 1e-4);
  EXPECT_NEAR(bias[1].item<double>(), std::log(4e-4), 1e-2) << "never seen: unlikely, not impossible";
}

}  // namespace
}  // namespace mose::models
