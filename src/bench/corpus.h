// Texts to encode.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mose/text/tokenizer.h"

namespace mose::bench {

// About `bytes` of what the driving models are trained on: the answers of rendered scenes (general
// perception, regions, suggestion), one text a scene. No scene appears in two shards.
std::vector<std::string> driving_texts(int64_t shard, int64_t bytes);

// About `bytes` in many languages at once: texts of 20 to 200 words, drawn with Zipf's frequencies (the
// r-th word with probability ~ 1 / r) from the words of the tokenizer's own vocabulary in random order, with spaces,
// punctuation, numbers and line breaks between them. The worst realistic text: no two neighbours share a script.
std::vector<std::string> multilingual_texts(const text::Tokenizer& tokenizer, int64_t shard, int64_t bytes);

}  // namespace mose::bench
