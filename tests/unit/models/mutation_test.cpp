// The files of model directories with random damage: the model loads or is refused, before a config of absurd
// sizes takes memory.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/files.h"
#include "mose/models/bundle.h"
#include "mose/models/export.h"
#include "mose/models/import.h"
#include "support/damage.h"
#include "support/helpers.h"
#include "support/tiny_model.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;
using tests::tiny_config;

// Damages the bytes and the values of `dir`/`name` by turns, and puts it back.
int64_t survive_file(const fs::path& dir, const std::string& name, int64_t cases, const std::function<void()>& use) {
  const std::string good = read_file(dir / name);
  const Json document = Json::parse(good);
  const int64_t taken = survive(name, cases, [&](RandomStream& random) {
    const bool bytes = random.chance(0.25);
    write_quickly(dir / name, bytes ? damaged_bytes(good, random, json_pieces())
                                    : damaged_json(document, random).dump(2, ' ', false, Json::error_handler_t::replace));
    use();
  });
  write_quickly(dir / name, good);
  return taken;
}

Bundle tiny_bundle(const Config& config, int64_t width, int64_t height) {
  vision::PreprocessConfig preprocess;
  preprocess.width = width;
  preprocess.height = height;
  preprocess.mode = "crop";
  preprocess.filter = "bicubic";
  return {make_model(config, 1, &tests::taxonomy()), tests::tiny_tokenizer(), preprocess, tests::taxonomy()};
}

TEST(Mutation, ModelDirectoriesLoadOrAreRefused) {
  const TemporaryFolder folder;
  const fs::path dir = folder.path / "model";
  Config config = tiny_config();
  config.language.layers = 2;
  config.language.moe = tests::tiny_moe();
  save_bundle(dir, tiny_bundle(config, config.vision.image_width, config.vision.image_height));
  const auto load = [&] { load_bundle(dir); };
  load();
  EXPECT_GT(survive_file(dir, "config.json", 2000, load), 100);
  EXPECT_GT(survive_file(dir, "preprocessor_config.json", 1000, load), 50);
  EXPECT_GT(survive_file(dir, "skills.json", 300, load), 50);
}

TEST(Mutation, CheckpointsOfOthersImportOrAreRefused) {
  const TemporaryFolder folder;
  const fs::path ours = folder.path / "ours", dir = folder.path / "hf";
  Config config = tiny_config();
  config.language.layers = 2;
  config.vision.type = "clip";
  config.vision.image_width = config.vision.image_height = 32;
  config.projector.merge = 1;
  config.image_token_id = tests::tiny_tokenizer().token_to_id("<image>");
  save_bundle(ours, tiny_bundle(config, 32, 32));
  export_hugging_face(ours, dir);
  const auto load = [&] { import_model(dir, "", "vicuna", tests::taxonomy()); };
  load();
  EXPECT_GT(survive_file(dir, "config.json", 2000, load), 100);
  EXPECT_GT(survive_file(dir, "preprocessor_config.json", 1000, load), 50);
}

}  // namespace
}  // namespace mose::models
