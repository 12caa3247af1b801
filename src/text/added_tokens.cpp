#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace mose::text {

namespace {

size_t code_point_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  size_t length = 0;
  if (begin > 0 && is_word(decode_utf8(text, code_point_before(text, begin), length))) return true;
  return end < text.size() && is_word(decode_utf8(text, end, length));
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token) {
  const std::string& spelling = token.spelling;
  if (spelling.empty()) return;
  int32_t node = 0;
  for (const char c : spelling) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_[static_cast<size_t>(node)].children.emplace_back(byte, next);
      nodes_.emplace_back();
    }
    node = next;
  }
  first_bytes_[static_cast<unsigned char>(spelling[0])] = true;
  auto& end = nodes_[static_cast<size_t>(node)];
  if (end.token >= 0) return;  // of two tokens spelled alike the first counts
  end.token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

int32_t AddedTokenFinder::child(int32_t node, unsigned char byte) const {
  for (const auto& [b, next] : nodes_[static_cast<size_t>(node)].children) {
    if (b == byte) return next;
  }
  return -1;
}

std::vector<TextPart> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TextPart> parts;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (!first_bytes_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    int32_t node = 0, found = -1;
    size_t found_end = at;
    for (size_t i = at; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node < 0) break;
      if (nodes_[static_cast<size_t>(node)].token >= 0) {
        found = nodes_[static_cast<size_t>(node)].token;
        found_end = i + 1;
      }
    }
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    size_t begin = at, end = found_end;
    at = found_end;
    if (token.single_word && touches_word(text, begin, end)) continue;
    size_t length = 0;
    if (token.lstrip) {
      while (begin > done) {
        const size_t before = code_point_before(text, begin);
        if (!is_white_space(decode_utf8(text, before, length))) break;
        begin = before;
      }
    }
    // White space that the token before swallowed is not given again.
    begin = std::max(begin, done);
    if (token.rstrip) {
      while (end < text.size() && is_white_space(decode_utf8(text, end, length))) end += length;
    }
    end = std::max(end, begin);
    if (begin > done) parts.push_back({{done, begin}, -1});
    parts.push_back({{begin, end}, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, -1});
  return parts;
}

}  // namespace mose::text
