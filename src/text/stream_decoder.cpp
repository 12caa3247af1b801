#include <algorithm>

#include "mose/text/tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace mose::text {

std::string StreamDecoder::push(int64_t id) {
  const auto& impl = *tokenizer_.impl_;
  const std::string* token = impl.spelling(id);
  if (token == nullptr || impl.special(id)) return "";
  if (impl.byte_level_decoder()) {
    bytes_ += byte_level_bytes(*token);
    const size_t complete = bytes_.size() - incomplete_utf8_tail(bytes_);
    std::string text = lossy_utf8(std::string_view(bytes_).substr(0, complete));
    bytes_.erase(0, complete);
    return text;
  }
  pending_.push_back(*token);
  // A run of byte tokens is text or replacement characters as a whole, so it waits for its end;
  // what a Strip may take from the end of the text waits for the end of the stream.
  const bool waits =
      std::any_of(impl.decoder.begin(), impl.decoder.end(), [&](const DecodeStep& s) {
        if (s.kind == DecodeStep::Kind::kByteFallback) return fallback_byte(*token) >= 0;
        return s.kind == DecodeStep::Kind::kByteLevel ||
               (s.kind == DecodeStep::Kind::kStrip && s.strip_stop > 0);
      });
  return waits ? "" : finish();
}

std::string StreamDecoder::finish() {
  std::string text = lossy_utf8(bytes_);
  bytes_.clear();
  if (!pending_.empty()) {
    text += decode_tokens(tokenizer_.impl_->decoder, std::move(pending_), !started_);
    pending_.clear();
    started_ = true;
  }
  return text;
}

}  // namespace mose::text
