// What tokenizer.json calls pre-tokenizers: cutting a text into the words that BPE works on.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "text/tracked_text.h"

namespace mose::text {

// A text and the words found in it so far, in order and without overlap.
struct Words {
  TrackedText text;
  std::vector<Range> ranges;
};

using PreTokenizer = std::function<void(Words&)>;

struct PreTokenizers {
  std::vector<PreTokenizer> steps;
  bool byte_level = false;  // the words are then spelled in the byte alphabet (a ByteLevel step)
};

// Reads ByteLevel, Split, Metaspace, Digits, Whitespace, WhitespaceSplit, Punctuation and Sequence.
// ByteLevel must be the last step. DataError naming `where` and the type of anything else.
PreTokenizers read_pre_tokenizers(const Json& json, const std::string& where);

// GPT-2's pattern, which ByteLevel uses.
extern const char* const kGpt2Pattern;

}  // namespace mose::text
