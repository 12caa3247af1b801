// A model directory in the Hugging Face manner: config.json, model.safetensors (or shards),
// tokenizer.json, tokenizer_config.json, preprocessor_config.json, skills.json.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "mose/io/safetensors.h"
#include "mose/models/vlm.h"
#include "mose/skills/taxonomy.h"
#include "mose/text/tokenizer.h"
#include "mose/vision/preprocess.h"

namespace mose::models {

struct Bundle {
  std::shared_ptr<VisionLanguageModel> model;
  text::Tokenizer tokenizer;
  vision::PreprocessConfig preprocess;
  skills::Taxonomy taxonomy;
};

// Writes the directory beside and renames it, replacing an earlier model. UsageError when `dir` holds
// anything else, which stays as it is.
void save_bundle(const std::filesystem::path& dir, const Bundle& bundle);
// The same with weights by the names of weights_for_file that are elsewhere than in the model, each converted
// to `type` (float32 or bfloat16) as it is written.
void save_bundle(const std::filesystem::path& dir, const Bundle& bundle, const io::TensorMap& weights,
                 torch::ScalarType type);
// config.json alone. DataError names the file and key of what is malformed.
struct ModelHeader {
  Config config;
  torch::ScalarType dtype = torch::kFloat32;
};
ModelHeader load_header(const std::filesystem::path& dir);
// DataError names the file and key of anything missing, malformed or of the wrong shape.
Bundle load_bundle(const std::filesystem::path& dir);

// Parameters as files hold them: stacked experts become one key an expert,
// experts.{e}.{gate_proj,up_proj,down_proj}.weight, as transformers writes them.
io::TensorMap weights_for_file(const VisionLanguageModel& model);
// The same of parameters that are elsewhere, by the model's names for them.
io::TensorMap weights_for_file(const std::vector<std::pair<std::string, torch::Tensor>>& parameters);

}  // namespace mose::models
