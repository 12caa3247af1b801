// tokenizer.json as data: the large lists apart from the rest, which is kept in order.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "text/bpe.h"

namespace mose::text {

struct TokenizerFile {
  Json document;  // "model" without "vocab" and "merges"
  std::vector<VocabularyEntry> vocabulary;
  std::vector<Merge> merges;
  Json config;  // tokenizer_config.json, or null
};

// Both forms of merges are read ("a b" and ["a", "b"]). DataError on malformed JSON or lists.
TokenizerFile read_tokenizer_file(const std::filesystem::path& path);
TokenizerFile parse_tokenizer_json(std::string_view text, const std::string& where);
// Writes DIR/tokenizer.json, and DIR/tokenizer_config.json unless config is null.
void write_tokenizer_file(const std::filesystem::path& dir, const TokenizerFile& file);

// A BPE document with nothing but the given model options; parts are null.
Json empty_tokenizer_document();

}  // namespace mose::text
