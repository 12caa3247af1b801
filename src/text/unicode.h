// UTF-8 and the few character classes that tokenizers ask about outside of regular expressions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mose::text {

// The code point that starts at text[at], which must be valid UTF-8; `length` gets its bytes.
char32_t decode_utf8(std::string_view text, size_t at, size_t& length);
void append_utf8(std::string& out, char32_t code);

// The bytes of the longest prefix that is valid UTF-8.
size_t valid_utf8_prefix(std::string_view text);

// Replaces each maximal part of an ill-formed sequence by U+FFFD, as the Unicode standard
// recommends (and as Rust's and Python's lossy decoders do).
std::string lossy_utf8(std::string_view bytes);

// How many bytes at the end of `bytes` begin a code point that is not complete yet (0 to 3).
size_t incomplete_utf8_tail(std::string_view bytes);

// White_Space of the Unicode character database.
bool is_white_space(char32_t code);
// \w of Unicode regular expressions: Alphabetic, Mark, Decimal_Number, Connector_Punctuation.
bool is_word(char32_t code);

// The alphabet of byte-level BPE (GPT-2): each byte has a visible character of its own.
char32_t byte_to_char(unsigned char byte);
// The byte behind such a character, or -1.
int char_to_byte(char32_t code);
std::string bytes_to_chars(std::string_view bytes);

}  // namespace mose::text
