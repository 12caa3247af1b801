// The parts of a tokenizer, as tokenizer.json lists them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "mose/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_file.h"

namespace mose::text {

struct Tokenizer::Impl {
  TokenizerFile file;
  std::string where;
  std::vector<AddedToken> added;
  std::unordered_map<std::string, int64_t> added_ids;
  std::unordered_map<int64_t, size_t> added_by_id;
  std::vector<Normalizer> normalizers;
  PreTokenizers pre_tokenizers;
  std::optional<Bpe> bpe;
  std::vector<DecodeStep> decoder;
  // Ids that add_special_tokens puts around the text's own.
  std::vector<int64_t> before, after;
  AddedTokenFinder in_original, in_normalized;

  Impl(TokenizerFile from, std::string where);

  // Calls token(id, begin, end) for each token, in order; begin and end are 0 unless tracked.
  template <class Token>
  void tokenize(std::string_view text, bool tracked, const Token& token) const;

  const std::string* spelling(int64_t id) const;  // as decoded; null when the id has no token
  bool special(int64_t id) const;
  bool byte_level_decoder() const {
    return decoder.size() == 1 && decoder[0].kind == DecodeStep::Kind::kByteLevel;
  }

 private:
  void read_added(const Json& document);
  void read_post_processor(const Json& json, const std::string& at);
};

}  // namespace mose::text
