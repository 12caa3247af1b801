// Which tensor of which file each of our parameters is: the layouts of whole models and of their parts.
#pragma once

#include <string>
#include <vector>

#include "models/import_decoder.h"
#include "mose/io/safetensors.h"
#include "mose/models/vlm.h"

namespace mose::models {

// A part of our model and where a checkpoint keeps it.
struct Origin {
  std::string ours;                 // prefix of our names
  std::vector<std::string> theirs;  // prefixes in the file, the first that is there
  Replacements replacements;
  size_t file = 0;  // index into the list of opened checkpoints
};

struct Layout {
  Config config;
  std::vector<Origin> origins;
};

vision::Config import_tower(const Json& json, int64_t feature_layer, const std::string& where);

// LLaVA and LLaVA-NeXT as transformers writes them: vision_config, text_config, and one file for all.
Layout hugging_face_llava(const Json& json, const std::string& where);
// LLaVA's and MoE-LLaVA's own layout: the decoder's config with mm_... keys. The tower's weights are in the
// file (MoE-LLaVA) or are checkpoint 1 (LLaVA); its config is `tower`.
bool is_original_llava(const Json& json);
Layout original_llava(const Json& json, const Json& tower, bool tower_in_file, const std::string& where);

// The part that a parameter belongs to, or none.
const Origin* origin_of(const std::vector<Origin>& origins, const std::string& ours);
// The names that a parameter may have in the file, those that the export writes first.
std::vector<std::string> names_in_file(const Origin& origin, const std::string& ours);
// The tensor, or a block of its rows (Replacements); undefined when the file has no such name.
torch::Tensor find_tensor(const io::StateDict& file, const std::string& name, std::string& plain_name);

}  // namespace mose::models
