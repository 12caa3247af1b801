// Normalization forms by segments, so that unchanged text keeps exact origins.
#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "mose/core/error.h"
#include "text/normalizer.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

// Code points that utf8proc reorders, composes or decomposes and that Hugging Face's older tables
// leave alone. Sorted ranges.
constexpr char32_t kLeftAlone[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0xECE, 0xECE},
    {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},
    {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x10785},
    {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC},
    {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16FF0, 0x16FF1}, {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1F16C, 0x1F16C},
    {0x1FBF0, 0x1FBF9},
};

bool left_alone(char32_t code) {
  const auto* it = std::lower_bound(std::begin(kLeftAlone), std::end(kLeftAlone), code,
                                    [](const char32_t(&r)[2], char32_t c) { return r[1] < c; });
  return it != std::end(kLeftAlone) && code >= (*it)[0];
}

bool is_hangul_syllable(char32_t code) {
  return code >= 0xAC00 && code < 0xD7A4;  // decomposed by rule, not by table
}

// Whether the code point alone is its own normal form; false where that takes a closer look. The usual
// characters are answered here, without a call that allocates.
bool surely_normal(char32_t code, UnicodeForm form) {
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  if (is_hangul_syllable(code)) return compose;
  const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
  if (property->decomp_seqindex == UINT16_MAX) return true;
  if (property->decomp_type != 0) return form == UnicodeForm::kNfc;  // a compatibility form only
  // Of Latin letters with marks none is excluded from composition.
  return compose && (code < 0x340 || (code >= 0x1EA0 && code < 0x1F00));
}

// Whether a segment may start at this code point: nothing before it can change because of it.
bool starts_segment(char32_t code) {
  if (code < 0x300) return true;
  if (left_alone(code)) return true;
  if ((code >= 0x1161 && code <= 0x1175) || (code >= 0x11A8 && code <= 0x11C2)) return false;
  const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
  if (property->combining_class != 0) return false;
  if (property->comb_index >= 0x8000 && property->comb_index != UINT16_MAX) return false;
  if (property->decomp_seqindex == UINT16_MAX) return true;
  // A character whose decomposition begins with a mark takes part in reordering.
  utf8proc_int32_t parts[32];
  int boundary = 0;
  const auto count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(code), parts, 32,
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT), &boundary);
  for (int i = 0; i < count && i < 32; ++i) {
    const auto* part = utf8proc_get_property(parts[i]);
    if (part->combining_class != 0) return i > 0;
    if (part->comb_index >= 0x8000 && part->comb_index != UINT16_MAX) return false;
    if ((parts[i] >= 0x1161 && parts[i] <= 0x1175) || (parts[i] >= 0x11A8 && parts[i] <= 0x11C2)) {
      return i > 0;
    }
    break;
  }
  return true;
}

std::string normal_form(std::string_view segment, UnicodeForm form) {
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* result = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(segment.data()),
                                 static_cast<utf8proc_ssize_t>(segment.size()), &result,
                                 static_cast<utf8proc_option_t>(options));
  if (size < 0) throw Error(std::string("normalizer: ") + utf8proc_errmsg(size));
  std::string out(reinterpret_cast<char*>(result), static_cast<size_t>(size));
  free(result);
  return out;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

void normalize_unicode(TrackedText& text, UnicodeForm form) {
  const std::string& bytes = text.bytes;
  if (is_ascii(bytes)) return;
  Rewriter rewriter(text);
  bool changed = false;
  size_t kept = 0;  // everything before is already written
  for (size_t at = 0; at < bytes.size();) {
    size_t length = 0;
    const char32_t first = decode_utf8(bytes, at, length);
    size_t end = at + length;
    if (first < 0x80 && end < bytes.size() && static_cast<unsigned char>(bytes[end]) < 0x80) {
      at = end;
      continue;
    }
    if (!left_alone(first)) {
      const size_t alone = end;
      while (end < bytes.size()) {
        const char32_t next = decode_utf8(bytes, end, length);
        if (starts_segment(next)) break;
        end += length;
      }
      const std::string_view segment = std::string_view(bytes).substr(at, end - at);
      if (end > alone || (first >= 0x80 && !surely_normal(first, form))) {
        const std::string normal = normal_form(segment, form);
        if (normal != segment) {
          rewriter.keep(kept, at);
          rewriter.put(normal, at, end);
          kept = end;
          changed = true;
        }
      }
    }
    at = end;
  }
  if (!changed) return;
  rewriter.keep(kept, bytes.size());
  text = rewriter.finish();
}

}  // namespace mose::text
