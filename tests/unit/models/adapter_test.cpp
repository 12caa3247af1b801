#include "mose/models/adapter.h"

#include <gtest/gtest.h>

#include "mose/core/config.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/models/account.h"
#include "support/damage.h"
#include "support/helpers.h"
#include "support/tiny_model.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

std::shared_ptr<VisionLanguageModel> sparse_model(bool gelu = false) {
  auto config = tests::tiny_config();
  config.language.moe = tests::tiny_moe();
  if (gelu) {
    config.language.ffn = "gelu";
    config.language.norm = "layer";
    config.language.parallel = true;
  }
  return make_model(config, 3, &tests::taxonomy());
}

nn::Adapters attach_trained(VisionLanguageModel& model, const nn::LoraConfig& config) {
  auto adapters = nn::attach_lora(model, config, 1);
  const torch::NoGradGuard no_grad;
  for (auto& [name, lora] : adapters) lora->B.normal_(0, 0.3);
  return adapters;
}

Tensor logits(VisionLanguageModel& model) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(7);
  const Tensor tokens = torch::randint(0, 290, {9});
  return model.logits(model.forward(tokens, nn::make_plan({9}), {}).hidden_TD);
}

nn::LoraConfig small() {
  nn::LoraConfig config;
  config.rank = 3;
  config.alpha = 5;
  return config;
}

TEST(Adapter, ComesBackFromAFileAsItWas) {
  const TemporaryFolder folder;
  for (const bool gelu : {false, true}) {
    const auto model = sparse_model(gelu);
    const auto adapters = attach_trained(*model, small());
    EXPECT_EQ(adapters.count("model.language_model.layers.0.mlp.experts." + std::string(gelu ? "fc1" : "down_proj")), 1u);
    save_adapter(folder.path / "adapter", *model, adapters, small(), "base");
    const auto back = read_adapter(folder.path / "adapter", *model);
    ASSERT_EQ(back.size(), adapters.size());
    for (const auto& [name, lora] : adapters) {
      EXPECT_TRUE(torch::equal(back.at(name)->A, lora->A)) << name;
      EXPECT_TRUE(torch::equal(back.at(name)->B, lora->B)) << name;
      EXPECT_EQ(back.at(name)->scale, lora->scale);
    }
  }
}

TEST(Adapter, MergedFromAFileComputesWhatAttachedOnesDo) {
  const TemporaryFolder folder;
  const auto model = sparse_model();
  auto config = small();
  config.targets = {"*"};  // the tower and the projector too
  config.rank_stabilised = true;
  const Tensor plain = logits(*model);
  const auto adapters = attach_trained(*model, config);
  const Tensor attached = logits(*model);
  EXPECT_GT((attached - plain).abs().max().item<double>(), 0.05);
  save_adapter(folder.path / "adapter", *model, adapters, config, "base");
  const auto fresh = sparse_model();
  nn::attach_lora(*fresh, read_adapter(folder.path / "adapter", *fresh));
  nn::merge_lora(*fresh);
  EXPECT_LT(((logits(*fresh) - attached).abs().max() / attached.abs().max()).item<double>(), 1e-5);
  nn::merge_lora(*model);
  const auto a = model->named_parameters(), b = fresh->named_parameters();
  for (const auto& p : a) EXPECT_TRUE(torch::equal(p.value(), b[p.key()])) << p.key();
}

// PEFT's layout written out: rows of A by expert, columns of B by rank and then by expert.
TEST(Adapter, FilesHaveTheLayoutOfPeft) {
  const TemporaryFolder folder;
  const auto model = sparse_model();
  auto config = small();
  config.targets = {"*.0.mlp.experts.*", "*.1.self_attn.q_proj", "*.2.mlp.experts.gate_up_proj"};
  const auto adapters = attach_trained(*model, config);
  save_adapter(folder.path, *model, adapters, config, "base");
  const auto file = io::StateDict::open(folder.path / "adapter_model.safetensors");
  const std::string layers = "base_model.model.model.language_model.layers.";
  EXPECT_EQ(file.names(), (std::vector<std::string>{
      layers + "0.mlp.experts.base_layer.lora_A.weight", layers + "0.mlp.experts.base_layer.lora_B.weight",
      layers + "0.mlp.experts.lora_A.weight", layers + "0.mlp.experts.lora_B.weight",
      layers + "1.self_attn.q_proj.lora_A.weight", layers + "1.self_attn.q_proj.lora_B.weight",
      layers + "2.mlp.experts.lora_A.weight", layers + "2.mlp.experts.lora_B.weight"}));  // nothing is wrapped twice there
  const auto& down = *adapters.at("model.language_model.layers.0.mlp.experts.down_proj");
  const Tensor a = file.get(layers + "0.mlp.experts.lora_A.weight"), b = file.get(layers + "0.mlp.experts.lora_B.weight");
  for (int64_t e = 0; e < 4; ++e) {
    for (int64_t r = 0; r < 3; ++r) {
      EXPECT_TRUE(torch::equal(a[e * 3 + r], down.A[e][r]));
      EXPECT_TRUE(torch::equal(b.select(1, r * 4 + e), down.B[e].select(1, r)));
    }
  }
  const Json json = load_json(folder.path / "adapter_config.json");
  EXPECT_EQ(json["peft_type"], "LORA");
  EXPECT_EQ(json["r"], 3);
  EXPECT_EQ(json["target_modules"], Json::array({"model.language_model.layers.1.self_attn.q_proj"}));
  EXPECT_EQ(json["target_parameters"].size(), 3u);
}

class AdapterFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    config_ = small();
    config_.targets = {"*.q_proj"};
    save_adapter(folder_.path, *model_, attach_trained(*model_, config_), config_, "base");
    json_ = load_json(folder_.path / "adapter_config.json");
  }
  std::string refusal(const std::string& key, const Json& value) {
    Json changed = json_;
    changed[key] = value;
    save_json(folder_.path / "adapter_config.json", changed);
    return message_of<DataError>([&] { read_adapter(folder_.path, *model_); });
  }
  void rename(const std::string& from, const std::string& to) {
    io::TensorMap tensors;
    const auto file = io::StateDict::open(folder_.path / "adapter_model.safetensors");
    for (const auto& name : file.names()) tensors[replace_all(name, from, to)] = file.get(name).clone();
    io::save_safetensors(folder_.path / "adapter_model.safetensors", tensors);
  }
  const TemporaryFolder folder_;
  const std::shared_ptr<VisionLanguageModel> model_ = sparse_model();
  nn::LoraConfig config_;
  Json json_;
};

TEST_F(AdapterFiles, WhatIsNoPlainLoraIsRefusedByItsKey) {
  EXPECT_NE(refusal("use_dora", true).find("\"use_dora\""), std::string::npos);
  EXPECT_NE(refusal("bias", "all").find("\"bias\""), std::string::npos);
  EXPECT_NE(refusal("peft_type", "LOHA").find("LOHA"), std::string::npos);
  EXPECT_NE(refusal("modules_to_save", Json::array({"lm_head"})).find("\"modules_to_save\""), std::string::npos);
  EXPECT_NE(refusal("alpha_pattern", Json{{"(", 1}}).find("\"alpha_pattern\""), std::string::npos);
}

TEST_F(AdapterFiles, PatternsOfAlphaCountForTheLayersTheyName) {
  json_["alpha_pattern"] = Json{{"layers\\.[12]\\.self_attn\\.q_proj", 30}, {"proj", 99}};
  save_json(folder_.path / "adapter_config.json", json_);
  const auto back = read_adapter(folder_.path, *model_);
  EXPECT_DOUBLE_EQ(back.at("model.language_model.layers.0.self_attn.q_proj")->scale, 5.0 / 3);
  EXPECT_DOUBLE_EQ(back.at("model.language_model.layers.2.self_attn.q_proj")->scale, 10);
}

TEST_F(AdapterFiles, LayersOfADecoderAloneAreFoundInThisModels) {
  rename("model.language_model.layers", "model.layers");
  EXPECT_EQ(read_adapter(folder_.path, *model_).count("model.language_model.layers.3.self_attn.q_proj"), 1u);
}

TEST_F(AdapterFiles, ALayerThatTheModelHasNotOrOfAnotherShapeIsNamed) {
  rename(".0.self_attn.q_proj", ".7.self_attn.q_proj");
  auto said = message_of<DataError>([&] { read_adapter(folder_.path, *model_); });
  EXPECT_NE(said.find("layers.7.self_attn.q_proj\" is no linear layer"), std::string::npos) << said;
  rename(".7.self_attn.q_proj", ".0.self_attn.k_proj");
  said = message_of<DataError>([&] { read_adapter(folder_.path, *model_); });
  EXPECT_NE(said.find("k_proj\": A [3, 24] and B [24, 3] do not fit"), std::string::npos) << said;
}

TEST_F(AdapterFiles, TheBasesOwnWeightsMayStandBesideAndMustBeThisModels) {
  const auto write = [&](const Tensor& weight) {
    const fs::path path = folder_.path / "adapter_model.safetensors";
    io::TensorMap tensors;
    const auto file = io::StateDict::open(path);
    for (const auto& name : file.names()) tensors[name] = file.get(name).clone();
    tensors["base_model.model.model.language_model.layers.0.self_attn.q_proj.base_layer.weight"] = weight;
    io::save_safetensors(path, tensors);
  };
  const Tensor own = model_->named_parameters()["model.language_model.layers.0.self_attn.q_proj.weight"].detach();
  write(own);
  EXPECT_EQ(read_adapter(folder_.path, *model_).size(), 4u);
  write(own + 1);
  EXPECT_NE(message_of<DataError>([&] { read_adapter(folder_.path, *model_); }).find("another than this model's"), std::string::npos);
}

TEST_F(AdapterFiles, DamagedAreReadOrRefused) {
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    const std::string good = read_file(folder_.path / name);
    const bool weights = std::string(name) == "adapter_model.safetensors";
    const auto taken = survive(name, 1000, [&](RandomStream& random) {
      const bool bytes = weights || random.chance(0.25);
      write_quickly(folder_.path / name,
                    bytes ? damaged_bytes(good, random, json_pieces())
                          : damaged_json(Json::parse(good), random).dump(2, ' ', false, Json::error_handler_t::replace));
      read_adapter(folder_.path, *model_);
    });
    EXPECT_GT(taken, 20) << name;
    write_quickly(folder_.path / name, good);
  }
}

TEST(Adapter, IsAccountedForWithoutBeingBuilt) {
  const auto model = sparse_model();
  const auto config = small();
  int64_t want = 0, projector = 0;
  for (const auto& [name, lora] : nn::attach_lora(*model, config, 1)) want += lora->A.numel() + lora->B.numel();
  for (const auto& p : model->named_parameters()) projector += p.key().find("projector") != std::string::npos ? p.value().numel() : 0;
  const auto a = account_adapters(model->config(), tests::taxonomy(), config, {"model.multi_modal_projector.*"});
  EXPECT_EQ(a.adapters, want);
  EXPECT_EQ(a.beside, projector);
  EXPECT_EQ(a.beside + a.frozen, nn::count_parameters(*model));
  EXPECT_DOUBLE_EQ(a.training_bytes(2), 16.0 * static_cast<double>(want + projector) + 2.0 * static_cast<double>(a.frozen));
}

// The recipe for one card: each part is checked against a model built on the meta device.
TEST(Recipes, WithAdaptersTrainsAFewPercent) {
  const Json json = load_json(resource("recipes/coda_qwen2_5_1_5b_x4_lora.json"));
  Config config;
  from_json_config(config, json["model"], "recipe");
  config.language.moe.emplace();
  from_json_config(*config.language.moe, json["moe"], "recipe");
  const Json& stage = json["stages"].back();
  nn::LoraConfig lora;
  from_json_config(lora, stage["lora"], "recipe");
  const auto a = account_adapters(config, tests::taxonomy(), lora, stage["trainable"].get<std::vector<std::string>>());
  const auto whole = account(config, static_cast<int64_t>(tests::taxonomy().skills().size()), 3);
  EXPECT_EQ(a.beside + a.frozen, whole.total());
  EXPECT_EQ(a.beside, whole.projector + whole.routers);
  // Four attention projections and, by turns, three of a dense FFN and two stacks of experts.
  EXPECT_EQ(a.layers, 28 * 4 + 14 * 3 + 14 * 2);
  EXPECT_LT(static_cast<double>(a.adapters), 0.03 * static_cast<double>(whole.total()));
}

}  // namespace
}  // namespace mose::models
