#include "mose/text/tokenizer.h"

#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/formats.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace mose::text {

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  FoundTokenizer found = find_tokenizer(path);
  return Tokenizer(std::make_unique<Impl>(std::move(found.file), found.path.string()));
}

int64_t Tokenizer::add_special_token(const std::string& token) {
  const int64_t known = token_to_id(token);
  if (known >= 0) return known;
  const int64_t id = vocabulary_size();
  TokenizerFile file = std::move(impl_->file);
  Json& added = file.document["added_tokens"];
  if (!added.is_array()) added = Json::array();
  added.push_back({{"id", id}, {"content", token}, {"single_word", false}, {"lstrip", false},
                   {"rstrip", false}, {"normalized", false}, {"special", true}});
  impl_ = std::make_unique<Impl>(std::move(file), std::string(impl_->where));
  return id;
}

void Tokenizer::save(const std::filesystem::path& dir) const {
  write_tokenizer_file(dir, impl_->file);
}

template <class Token>
void Tokenizer::Impl::tokenize(std::string_view text, bool tracked, const Token& token) const {
  if (const size_t valid = valid_utf8_prefix(text); valid != text.size()) {
    throw DataError(str("tokenizer: the text is not valid UTF-8 at byte ", valid));
  }
  if (text.size() > std::numeric_limits<uint32_t>::max()) {
    throw UsageError(
        str("tokenizer: a text of ", text.size(), " bytes; at most 4 GiB are possible"));
  }
  Bpe::Session session(*bpe);
  std::vector<Piece> pieces;
  Words words;

  const auto encode_words = [&] {
    for (const PreTokenizer& step : pre_tokenizers.steps) step(words);
    for (const auto& [begin, end] : words.ranges) {
      pieces.clear();
      session.encode(std::string_view(words.text.bytes).substr(begin, end - begin), pieces);
      size_t at = begin;
      for (const Piece& piece : pieces) {
        const Range origin = tracked ? words.text.origin({at, at + piece.length}) : Range{0, 0};
        token(static_cast<int64_t>(piece.id), origin);
        at += piece.length;
      }
    }
  };
  const auto encode_part = [&](TrackedText part) {
    for (const Normalizer& normalizer : normalizers) normalizer(part);
    if (in_normalized.empty()) {
      words.ranges.assign(1, {0, part.bytes.size()});
      if (part.bytes.empty()) words.ranges.clear();
      words.text = std::move(part);
      encode_words();
      return;
    }
    for (const TextPart& found : in_normalized.split(part.bytes)) {
      if (found.id >= 0) {
        token(found.id, tracked ? part.origin(found.range) : Range{0, 0});
        continue;
      }
      words.text = part.slice(found.range);
      words.ranges.assign(1, {0, words.text.bytes.size()});
      encode_words();
    }
  };
  const auto encode_range = [&](Range range) {
    TrackedText part;
    part.bytes = text.substr(range.first, range.second - range.first);
    part.base = range.first;
    part.tracked = tracked;
    encode_part(std::move(part));
  };

  if (in_original.empty()) {
    if (!text.empty()) encode_range({0, text.size()});
    return;
  }
  for (const TextPart& part : in_original.split(text)) {
    if (part.id >= 0) {
      token(part.id, part.range);
    } else {
      encode_range(part.range);
    }
  }
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<int64_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (add_special_tokens) ids = impl_->before;
  impl_->tokenize(text, false, [&](int64_t id, Range) { ids.push_back(id); });
  if (add_special_tokens) ids.insert(ids.end(), impl_->after.begin(), impl_->after.end());
  return ids;
}

std::vector<TokenSpan> Tokenizer::encode_spans(std::string_view text) const {
  std::vector<TokenSpan> spans;
  impl_->tokenize(text, true, [&](int64_t id, Range range) {
    spans.push_back({id, static_cast<int64_t>(range.first), static_cast<int64_t>(range.second)});
  });
  return spans;
}

std::string Tokenizer::decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    const std::string* token = impl_->spelling(id);
    if (token == nullptr || (skip_special_tokens && impl_->special(id))) continue;
    tokens.push_back(*token);
  }
  return decode_tokens(impl_->decoder, std::move(tokens));
}

int64_t Tokenizer::vocabulary_size() const {
  int64_t end = impl_->bpe->id_end();
  for (const AddedToken& token : impl_->added) end = std::max(end, token.id + 1);
  return end;
}

int64_t Tokenizer::token_to_id(std::string_view token) const {
  const auto it = impl_->added_ids.find(std::string(token));
  return it != impl_->added_ids.end() ? it->second : impl_->bpe->id_of(token);
}

std::string Tokenizer::id_to_token(int64_t id) const {
  const auto it = impl_->added_by_id.find(id);
  if (it != impl_->added_by_id.end()) return impl_->added[it->second].content;
  const std::string* token = impl_->bpe->token(id);
  return token == nullptr ? std::string() : *token;
}

bool Tokenizer::is_special(int64_t id) const {
  return impl_->special(id);
}

int64_t Tokenizer::role_id(const std::string& role) const {
  const Json& config = impl_->file.config;
  if (!config.is_object() || !config.contains(role)) return -1;
  const Json& value = config.at(role);
  if (value.is_string()) return token_to_id(value.get<std::string>());
  if (value.is_object() && value.contains("content") && value.at("content").is_string()) {
    return token_to_id(value.at("content").get<std::string>());
  }
  return -1;
}

}  // namespace mose::text
