#include "text/normalizer.h"

#include <utf8proc.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/json_fields.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

Normalizer prepend(const std::string& prefix) {
  return [prefix](TrackedText& text) {
    if (text.bytes.empty()) return;
    Rewriter rewriter(text);
    rewriter.put(prefix, 0, 0);
    rewriter.keep(0, text.bytes.size());
    text = rewriter.finish();
  };
}

Normalizer replace(std::shared_ptr<Pattern> pattern, const std::string& content) {
  return [pattern, content](TrackedText& text) {
    std::vector<Range> matches;
    pattern->find_all(text.bytes, matches);
    if (matches.empty()) return;
    Rewriter rewriter(text);
    size_t kept = 0;
    for (const auto& [begin, end] : matches) {
      rewriter.keep(kept, begin);
      rewriter.put(content, begin, end);
      kept = end;
    }
    rewriter.keep(kept, text.bytes.size());
    text = rewriter.finish();
  };
}

Normalizer strip(bool left, bool right) {
  return [left, right](TrackedText& text) {
    const std::string& bytes = text.bytes;
    size_t begin = 0, end = bytes.size(), length = 0;
    while (left && begin < end && is_white_space(decode_utf8(bytes, begin, length)))
      begin += length;
    while (right && end > begin) {
      size_t at = end - 1;
      while ((static_cast<unsigned char>(bytes[at]) & 0xC0) == 0x80) --at;
      if (!is_white_space(decode_utf8(bytes, at, length))) break;
      end = at;
    }
    if (begin > 0 || end < bytes.size()) text = text.slice({begin, end});
  };
}

void lowercase(TrackedText& text) {
  Rewriter rewriter(text);
  size_t length = 0;
  for (size_t at = 0; at < text.bytes.size(); at += length) {
    const char32_t code = decode_utf8(text.bytes, at, length);
    std::string lower;
    if (code == 0x130) {  // the one letter whose lower case is two code points
      lower = "i\xCC\x87";
    } else {
      append_utf8(lower, static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(code))));
    }
    rewriter.put(lower, at, at + length);
  }
  text = rewriter.finish();
}

void read(const Json& json, const std::string& where, std::vector<Normalizer>& out) {
  if (json.is_null()) return;
  const std::string type = json_string(json, "type", where);
  const auto form = [&](UnicodeForm f) {
    out.emplace_back([f](TrackedText& text) { normalize_unicode(text, f); });
  };
  if (type == "Sequence") {
    for (const Json& item : json_array(json, "normalizers", where)) read(item, where, out);
  } else if (type == "NFC") {
    form(UnicodeForm::kNfc);
  } else if (type == "NFD") {
    form(UnicodeForm::kNfd);
  } else if (type == "NFKC") {
    form(UnicodeForm::kNfkc);
  } else if (type == "NFKD") {
    form(UnicodeForm::kNfkd);
  } else if (type == "Prepend") {
    out.push_back(prepend(json_utf8(json, "prepend", where)));
  } else if (type == "Replace") {
    out.push_back(replace(std::make_shared<Pattern>(read_pattern(json, where)),
                          json_utf8(json, "content", where)));
  } else if (type == "Strip") {
    out.push_back(strip(json_flag(json, "strip_left", true, where),
                        json_flag(json, "strip_right", true, where)));
  } else if (type == "Lowercase") {
    out.emplace_back(lowercase);
  } else {
    throw DataError(str(where, ": \"", type,
                        "\" is not supported; known are NFC, NFD, NFKC, NFKD, Prepend, Replace, "
                        "Strip, Lowercase and Sequence"));
  }
}

}  // namespace

std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where) {
  std::vector<Normalizer> out;
  read(json, where, out);
  return out;
}

}  // namespace mose::text
