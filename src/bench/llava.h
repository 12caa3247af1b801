// A model that transformers opens as LLaVA: a CLIP tower and a sparse decoder of shape r's widths.
#pragma once

#include <filesystem>

#include "mose/models/bundle.h"

namespace mose::bench {

inline constexpr int64_t kPictureRows = 100;  // of a picture of 160 x 160 in patches of 16

// With random weights, float32, its tokenizer trained on texts of driving.
models::Bundle make_llava(int64_t layers);
// FOLDER/ours and FOLDER/theirs hold it in both forms.
void save_llava(const models::Bundle& bundle, const std::filesystem::path& folder);

}  // namespace mose::bench
