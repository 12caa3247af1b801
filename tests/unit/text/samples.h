// Texts that the tokenizer tests share.
#pragma once

#include <string>
#include <vector>

#include "mose/core/random.h"
#include "mose/text/tokenizer.h"
#include "support/helpers.h"

namespace mose::text {

// Mostly ASCII, the rest from all of Unicode.
std::string random_text(RandomStream& random, int64_t most_code_points);
// Sentences about driving with some invented words.
std::vector<std::string> driving_texts(int64_t count, int64_t words, uint64_t seed = 1);
// A small byte-level BPE of driving_texts with kSpecialTokens.
const Tokenizer& small_tokenizer();
extern const std::vector<std::string> kSpecialTokens;
// A model that the SentencePiece library trains on driving_texts.
std::string sentencepiece_model(const std::string& settings);
inline const char* const kLlamaSettings =
    "--model_type=bpe --byte_fallback=true --normalization_rule_name=identity "
    "--remove_extra_whitespaces=false";

}  // namespace mose::text
