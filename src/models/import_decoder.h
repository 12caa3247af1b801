// Decoders of other programs: their config.json and their tensors' names.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mose/core/json.h"
#include "mose/language/backbone.h"

namespace mose::models {

// Pieces of our names and what stands there in a file, applied in this order to what follows the prefix.
// "^" binds a piece to the start; "#i/n#" in a file's name means the i-th of n equal blocks of rows (fused
// projections).
using Replacements = std::vector<std::pair<std::string, std::string>>;

struct ImportedDecoder {
  language::Config config;
  Replacements replacements = {};
  std::string prefix = "model.";  // of all tensors but the head
};

// `json` is a decoder's config ("model_type": llama, mistral, qwen2, qwen, stablelm, stablelm_epoch, phi,
// mixtral or qwen2_moe). DataError names `where` and the key of what is missing, malformed or asks for
// something that is not computed here.
ImportedDecoder import_decoder(const Json& json, const std::string& where);

}  // namespace mose::models
