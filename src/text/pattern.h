// Pre-tokenizer regular expressions: PCRE2, made to agree with the Unicode tables that Hugging Face
// tokenizers carry.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mose::text {

using Range = std::pair<size_t, size_t>;  // bytes [first, second)

class Pattern {
 public:
  // DataError naming `where` and the column when the expression is not valid.
  Pattern(const std::string& expression, const std::string& where);
  // Matches the text as it is.
  static Pattern literal(const std::string& text);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  // Appends all matches from left to right, without overlap. `text` must be valid UTF-8. Safe to
  // call from several threads.
  void find_all(std::string_view text, std::vector<Range>& matches) const;

 private:
  struct Compiled;
  Pattern();
  std::unique_ptr<Compiled> compiled_;
  std::string literal_;
};

}  // namespace mose::text
