#include "text/unicode.h"

#include <utf8proc.h>

#include <array>

#include "text/shadow.h"

namespace mose::text {

char32_t decode_utf8(std::string_view text, size_t at, size_t& length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char b = byte(0);
  if (b < 0x80) {
    length = 1;
    return b;
  }
  if (b < 0xE0) {
    length = 2;
    return static_cast<char32_t>((b & 0x1F) << 6 | (byte(1) & 0x3F));
  }
  if (b < 0xF0) {
    length = 3;
    return static_cast<char32_t>((b & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F));
  }
  length = 4;
  return static_cast<char32_t>((b & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
                               (byte(3) & 0x3F));
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t c) { out.push_back(static_cast<char>(c)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

namespace {

struct Sequence {
  size_t length;  // bytes of the well-formed sequence, or of the maximal ill-formed part
  bool valid;
  bool cut;  // ill-formed only because the text ends
};

// Table 3-7 of the Unicode standard: the second byte's range depends on the first.
Sequence next_sequence(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const size_t left = text.size() - at;
  const unsigned char b = byte(0);
  if (b < 0x80) return {1, true, false};
  size_t need = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (b >= 0xC2 && b <= 0xDF) {
    need = 2;
  } else if (b >= 0xE0 && b <= 0xEF) {
    need = 3;
    if (b == 0xE0) low = 0xA0;
    if (b == 0xED) high = 0x9F;
  } else if (b >= 0xF0 && b <= 0xF4) {
    need = 4;
    if (b == 0xF0) low = 0x90;
    if (b == 0xF4) high = 0x8F;
  } else {
    return {1, false, false};
  }
  for (size_t i = 1; i < need; ++i) {
    if (i >= left) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {need, true, false};
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Sequence sequence = next_sequence(text, at);
    if (!sequence.valid) break;
    at += sequence.length;
  }
  return at;
}

std::string lossy_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const Sequence sequence = next_sequence(bytes, at);
    if (sequence.valid) {
      out.append(bytes.substr(at, sequence.length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    at += sequence.length;
  }
  return out;
}

size_t incomplete_utf8_tail(std::string_view bytes) {
  // A lead byte is at most three bytes from the end when its sequence is cut.
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const size_t at = bytes.size() - back;
    const unsigned char b = static_cast<unsigned char>(bytes[at]);
    if (b < 0x80) return 0;
    if (b >= 0xC0) {
      const Sequence sequence = next_sequence(bytes, at);
      return sequence.cut && sequence.length == back ? back : 0;
    }
  }
  return 0;
}

bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_word(char32_t code) {
  if (code < 0x80) {
    return (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
           (code >= 'A' && code <= 'Z') || code == '_';
  }
  // Join_Control counts as \w; Alphabetic adds letter numbers and the circled letters.
  if (code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
      (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
      (code >= 0x1F170 && code <= 0x1F189)) {
    return true;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(older_stand_in(code)))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

namespace {

struct ByteAlphabet {
  std::array<char32_t, 256> chars{};
  std::array<int, 0x144> bytes{};
  ByteAlphabet() {
    bytes.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = visible ? static_cast<char32_t>(b) : next++;
      chars[static_cast<size_t>(b)] = code;
      bytes[code] = b;
    }
  }
};
const ByteAlphabet kAlphabet;

}  // namespace

char32_t byte_to_char(unsigned char byte) {
  return kAlphabet.chars[byte];
}

int char_to_byte(char32_t code) {
  return code < kAlphabet.bytes.size() ? kAlphabet.bytes[code] : -1;
}

std::string bytes_to_chars(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) append_utf8(out, byte_to_char(static_cast<unsigned char>(b)));
  return out;
}

}  // namespace mose::text
