// The tokenizer.json documents of the families whose vocabularies come in other forms.
#pragma once

#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::text {

extern const char* const kQwenPattern;
extern const char* const kLlama3Pattern;

// An entry of "added_tokens", with Hugging Face's defaults: special tokens are not normalized.
Json added_token(int64_t id, const std::string& content, bool special);
// Byte-level BPE with a Split by `pattern`, or with GPT-2's pattern when that is empty.
Json byte_level_document(const std::string& pattern);
// Puts the token in front of every text when special tokens are asked for.
Json begin_with(const std::string& token, int64_t id);
// Llama 2's: spaces as U+2581 with one in front, byte fallback, no pre-tokenizer.
Json sentencepiece_document(const std::string& unknown);

std::vector<std::string> qwen_special_tokens();
std::vector<std::string> llama3_special_tokens();

}  // namespace mose::text
