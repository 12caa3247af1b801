// A Hugging Face config.json as ours.
#pragma once

#include <string>

#include "mose/core/json.h"
#include "mose/models/vlm.h"

namespace mose::models {

// `json` is a LLaVA config; DataError names `where` and the key of what is missing or not computed here.
Config config_from_llava(const Json& json, const std::string& where);

}  // namespace mose::models
