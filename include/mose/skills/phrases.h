// Sentences, clauses and phrases of English text. Offsets are bytes; every cut falls on an ASCII
// character, so that spans never split a UTF-8 code point.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mose::skills {

struct Span {
  int64_t begin = 0, end = 0;
  std::string_view of(std::string_view text) const {
    return text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }
};

// A run of letters, digits, apostrophes and non-ASCII bytes, in lower case.
struct Word {
  Span span;
  std::string text;
};
std::vector<Word> words(std::string_view text);

// A sentence ends at . ! or ? (with closing quotes and brackets) before white space, or at a line
// break; "1." at its start and a letter between points ("e.g.") do not end it. White space around a
// sentence is not part of it. Offsets count from the start of `text`.
std::vector<Span> sentences(std::string_view text);

// A phrase is words separated by spaces. In each word "/" separates alternatives and a final "*"
// stands for any ending; the word "~" stands for up to four words.
class Phrase {
 public:
  explicit Phrase(const std::string& pattern);
  // The first match starting at word `at` or later: its first word's index, or -1.
  int64_t find(const std::vector<Word>& text, size_t at = 0) const;
  size_t size() const { return parts_.size(); }  // words, where there is no "~"

 private:
  bool matches(const std::vector<Word>& text, size_t word, size_t part) const;
  std::vector<std::vector<std::string>> parts_;  // alternatives a word; empty for a gap
};

// `text` without the words of every match of phrases that have no "~".
std::vector<Word> without(std::vector<Word> text, const std::vector<Phrase>& phrases);

// The first word at which any phrase matches, or -1.
int64_t find_any(const std::vector<Phrase>& phrases, const std::vector<Word>& text);

// Clauses of one sentence: it breaks after , ; : and before each of `breaks` (lower-case words).
// White space between clauses belongs to none of them.
std::vector<Span> clauses(std::string_view text, Span sentence,
                          const std::vector<std::string>& breaks);

// Dice coefficient of the two texts' words, `stop_words` left out: 2 |a and b| / (|a| + |b|), as
// multisets; 0 when either has no word.
double similarity(std::string_view a, std::string_view b,
                  const std::vector<std::string>& stop_words);

}  // namespace mose::skills
