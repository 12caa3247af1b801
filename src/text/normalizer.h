// What tokenizer.json calls normalizers: rewriting before the text is cut into words.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "text/tracked_text.h"

namespace mose::text {

using Normalizer = std::function<void(TrackedText&)>;

// Reads NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Lowercase (ASCII and simple mappings) and
// Sequence, flattened to a list. DataError naming `where` and the type of anything else.
std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
// Unicode normalization with the tables (Unicode 9) of Hugging Face tokenizers.
void normalize_unicode(TrackedText& text, UnicodeForm form);

}  // namespace mose::text
