// Where a model directory keeps its image processor's config.
#pragma once

#include <filesystem>
#include <string>

#include "mose/core/json.h"

namespace mose::vision {

struct ProcessorFile {
  Json json;
  std::string where;  // for errors
};

// "image_processor" in DIR/processor_config.json, or else DIR/preprocessor_config.json.
ProcessorFile load_processor_file(const std::filesystem::path& dir);

}  // namespace mose::vision
