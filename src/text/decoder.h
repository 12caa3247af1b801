// What tokenizer.json calls decoders: from tokens back to text.
#pragma once

#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::text {

struct DecodeStep {
  enum class Kind { kByteLevel, kByteFallback, kReplace, kFuse, kStrip, kMetaspace };
  Kind kind;
  std::string from, to;  // kReplace; kMetaspace: the mark and " "
  bool prefix = false;   // kMetaspace: the first token loses its mark
  std::string strip;     // kStrip: the character, and how many at either end
  int64_t strip_start = 0, strip_stop = 0;
};

// Reads ByteLevel, ByteFallback, Replace (of a string), Fuse, Strip, Metaspace and Sequence.
// DataError naming `where` and the type of anything else.
std::vector<DecodeStep> read_decoder(const Json& json, const std::string& where);

// Runs the steps over the tokens and joins what comes out; without steps tokens are joined by
// spaces, as Hugging Face does. `at_start` is false in the middle of a stream.
std::string decode_tokens(const std::vector<DecodeStep>& steps, std::vector<std::string> tokens,
                          bool at_start = true);

// The bytes that a token of a byte-level vocabulary stands for.
std::string byte_level_bytes(const std::string& token);
// The byte of "<0x0A>", or -1.
int fallback_byte(const std::string& token);

}  // namespace mose::text
