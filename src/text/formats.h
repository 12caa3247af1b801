// Vocabularies in other forms than tokenizer.json, turned into one.
#pragma once

#include <filesystem>
#include <string>

#include "text/tokenizer_file.h"

namespace mose::text {

// DIR/vocab.json and DIR/merges.txt (GPT-2, CodeGen/Phi, Qwen 2): GPT-2's pattern, or Qwen's when
// tokenizer_config.json names a Qwen tokenizer class. Added tokens come from tokenizer_config.json
// ("added_tokens_decoder") or added_tokens.json.
TokenizerFile read_vocabulary_and_merges(const std::filesystem::path& dir);

// Lines of a base64 token and its rank. The family gives pattern and special tokens, whose ids
// follow the ranks: "qwen" or "llama3".
TokenizerFile read_tiktoken(const std::filesystem::path& path, const std::string& family);
// The family by the file's name; DataError when it names none.
std::string tiktoken_family(const std::filesystem::path& path);
bool looks_like_tiktoken(const std::filesystem::path& path);

// A SentencePiece BPE model as Llama 2's tokenizer.json spells it: merges by score, byte fallback,
// spaces as U+2581 with one in front. DataError for other model types and for normalization rules.
TokenizerFile read_sentencepiece(const std::filesystem::path& path);

// What Tokenizer::load reads: `path` itself, or the first of tokenizer.json, vocab.json with
// merges.txt, tokenizer.model and *.tiktoken in the directory.
struct FoundTokenizer {
  TokenizerFile file;
  std::filesystem::path path;
};
FoundTokenizer find_tokenizer(const std::filesystem::path& path);

}  // namespace mose::text
