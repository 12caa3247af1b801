#include "mose/skills/phrases.h"

#include <algorithm>
#include <map>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::skills {

namespace {

constexpr size_t kLongestGap = 4;  // words

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return is_letter(c) || is_digit(c) || c == '\'' || static_cast<unsigned char>(c) >= 0x80;
}

Span trimmed(std::string_view text, int64_t begin, int64_t end) {
  while (begin < end && is_space(text[static_cast<size_t>(begin)])) ++begin;
  while (end > begin && is_space(text[static_cast<size_t>(end - 1)])) --end;
  return {begin, end};
}

// Whether the full stop at `at` belongs to an abbreviation ("e.g.") or a list number ("1.").
bool inside_sentence(std::string_view text, size_t begin, size_t at) {
  const Span before = trimmed(text, static_cast<int64_t>(begin), static_cast<int64_t>(at));
  const std::string_view start = before.of(text);
  if (!start.empty() && std::all_of(start.begin(), start.end(), is_digit)) return true;
  return at >= 3 && is_letter(text[at - 1]) && text[at - 2] == '.' && is_letter(text[at - 3]);
}

}  // namespace

std::vector<Word> words(std::string_view text) {
  std::vector<Word> out;
  for (size_t i = 0; i < text.size();) {
    if (!is_word(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && is_word(text[i])) ++i;
    out.push_back({{static_cast<int64_t>(begin), static_cast<int64_t>(i)},
                   to_lower(text.substr(begin, i - begin))});
  }
  return out;
}

std::vector<Span> sentences(std::string_view text) {
  std::vector<Span> out;
  size_t begin = 0;
  const auto close = [&](size_t end) {
    const Span span = trimmed(text, static_cast<int64_t>(begin), static_cast<int64_t>(end));
    if (span.end > span.begin) out.push_back(span);
    begin = end;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') close(i);
    if (c != '.' && c != '!' && c != '?') continue;
    size_t end = i + 1;
    while (end < text.size() && std::string_view(".!?\"')]").find(text[end]) != std::string_view::npos) {
      ++end;
    }
    if (end < text.size() && !is_space(text[end])) continue;
    if (c == '.' && inside_sentence(text, begin, i)) continue;
    close(end);
    i = end - 1;
  }
  close(text.size());
  return out;
}

Phrase::Phrase(const std::string& pattern) {
  for (const std::string& part : split(pattern, ' ')) {
    if (part.empty()) continue;
    parts_.push_back(part == "~" ? std::vector<std::string>{} : split(to_lower(part), '/'));
    for (const std::string& word : parts_.back()) {
      if (word.empty() || word == "*") {
        throw DataError(str("phrase \"", pattern, "\": an alternative is empty"));
      }
    }
  }
  if (parts_.empty() || parts_.front().empty() || parts_.back().empty()) {
    throw DataError(str("phrase \"", pattern, "\": expected a word at both ends"));
  }
}

bool Phrase::matches(const std::vector<Word>& text, size_t word, size_t part) const {
  if (part == parts_.size()) return true;
  if (parts_[part].empty()) {
    for (size_t gap = 0; gap <= kLongestGap; ++gap) {
      if (matches(text, word + gap, part + 1)) return true;
    }
    return false;
  }
  if (word >= text.size()) return false;
  for (const std::string& option : parts_[part]) {
    const bool prefix = option.back() == '*';
    const bool equal = prefix ? text[word].text.compare(0, option.size() - 1, option, 0,
                                                        option.size() - 1) == 0
                              : text[word].text == option;
    if (equal && matches(text, word + 1, part + 1)) return true;
  }
  return false;
}

int64_t Phrase::find(const std::vector<Word>& text, size_t at) const {
  for (size_t i = at; i < text.size(); ++i) {
    if (matches(text, i, 0)) return static_cast<int64_t>(i);
  }
  return -1;
}

std::vector<Word> without(std::vector<Word> text, const std::vector<Phrase>& phrases) {
  for (const Phrase& phrase : phrases) {
    for (int64_t at = phrase.find(text); at >= 0; at = phrase.find(text, static_cast<size_t>(at))) {
      text.erase(text.begin() + at, text.begin() + at + static_cast<int64_t>(phrase.size()));
    }
  }
  return text;
}

int64_t find_any(const std::vector<Phrase>& phrases, const std::vector<Word>& text) {
  int64_t first = -1;
  for (const Phrase& phrase : phrases) {
    const int64_t at = phrase.find(text);
    if (at >= 0 && (first < 0 || at < first)) first = at;
  }
  return first;
}

std::vector<Span> clauses(std::string_view text, Span sentence,
                          const std::vector<std::string>& breaks) {
  std::vector<int64_t> cuts = {sentence.begin};
  const std::string_view inside = sentence.of(text);
  for (size_t i = 0; i + 1 < inside.size(); ++i) {
    // A comma inside a number ("1,000") is no break.
    if ((inside[i] == ',' || inside[i] == ';' || inside[i] == ':') && is_space(inside[i + 1])) {
      cuts.push_back(sentence.begin + static_cast<int64_t>(i) + 1);
    }
  }
  for (const Word& word : words(inside)) {
    if (std::find(breaks.begin(), breaks.end(), word.text) != breaks.end()) {
      cuts.push_back(sentence.begin + word.span.begin);
    }
  }
  cuts.push_back(sentence.end);
  std::sort(cuts.begin(), cuts.end());
  std::vector<Span> out;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const Span span = trimmed(text, cuts[i], cuts[i + 1]);
    if (span.end > span.begin) out.push_back(span);
  }
  return out;
}

double similarity(std::string_view a, std::string_view b,
                  const std::vector<std::string>& stop_words) {
  std::map<std::string, int64_t> count;
  double total = 0, shared = 0;
  const auto keep = [&](const Word& word) {
    return std::find(stop_words.begin(), stop_words.end(), word.text) == stop_words.end();
  };
  int64_t of_a = 0, of_b = 0;
  for (const Word& word : words(a)) {
    if (keep(word)) ++count[word.text], ++of_a;
  }
  for (const Word& word : words(b)) {
    if (!keep(word)) continue;
    ++of_b;
    if (count[word.text]-- > 0) shared += 1;
  }
  total = static_cast<double>(of_a + of_b);
  return of_a == 0 || of_b == 0 ? 0 : 2 * shared / total;
}

}  // namespace mose::skills
