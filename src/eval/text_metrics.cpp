#include "mose/eval/text_metrics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "mose/core/strings.h"

namespace mose::eval {
namespace {

bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool stop(char c) {
  return c == '.' || c == ',';
}

// ASCII symbols, except ' , - . which need their neighbours.
bool symbol(char c) {
  return (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/' ||
         (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

// One left-to-right pass that rewrites adjacent pairs; a rewritten pair is not looked at again.
template <class Match, class Emit>
std::string rewrite_pairs(const std::string& text, Match match, Emit emit) {
  std::string out;
  out.reserve(text.size() * 2);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && match(text[i], text[i + 1])) {
      emit(out, text[i], text[i + 1]);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> split_spaces(const std::string& text) {
  std::vector<std::string> tokens;
  std::string token;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space) {
      token += c;
    } else if (!token.empty()) {
      tokens.push_back(std::move(token));
      token.clear();
    }
  }
  if (!token.empty()) tokens.push_back(std::move(token));
  return tokens;
}

using Gram = std::vector<std::string>;

std::map<Gram, int64_t> gram_counts(const std::vector<std::string>& tokens, size_t n) {
  std::map<Gram, int64_t> counts;
  for (size_t i = 0; i + n <= tokens.size(); ++i) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(i);
    ++counts[Gram(first, first + static_cast<std::ptrdiff_t>(n))];
  }
  return counts;
}

}  // namespace

std::vector<std::string> bleu_tokens(const std::string& text) {
  std::string line = replace_all(text, "<skipped>", "");
  line = replace_all(line, "-\n", "");
  line = replace_all(line, "\n", " ");
  line = replace_all(line, "&quot;", "\"");
  line = replace_all(line, "&amp;", "&");
  line = replace_all(line, "&lt;", "<");
  line = replace_all(line, "&gt;", ">");

  std::string spaced = " ";
  for (const char c : line) {
    if (symbol(c)) {
      spaced += ' ';
      spaced += c;
      spaced += ' ';
    } else {
      spaced += c;
    }
  }
  spaced += ' ';
  spaced = rewrite_pairs(
      spaced, [](char a, char b) { return !digit(a) && stop(b); },
      [](std::string& out, char a, char b) {
        out += {a, ' ', b, ' '};
      });
  spaced = rewrite_pairs(
      spaced, [](char a, char b) { return stop(a) && !digit(b); },
      [](std::string& out, char a, char b) {
        out += {' ', a, ' ', b};
      });
  spaced = rewrite_pairs(
      spaced, [](char a, char b) { return digit(a) && b == '-'; },
      [](std::string& out, char a, char b) {
        out += {a, ' ', b, ' '};
      });
  return split_spaces(spaced);
}

BleuStatistics& BleuStatistics::operator+=(const BleuStatistics& other) {
  for (size_t n = 0; n < 4; ++n) {
    matches[n] += other.matches[n];
    totals[n] += other.totals[n];
  }
  hypothesis_length += other.hypothesis_length;
  reference_length += other.reference_length;
  return *this;
}

BleuStatistics bleu_statistics(const std::string& hypothesis, const std::string& reference) {
  const auto hypothesis_tokens = bleu_tokens(hypothesis), reference_tokens = bleu_tokens(reference);
  BleuStatistics out;
  out.hypothesis_length = static_cast<int64_t>(hypothesis_tokens.size());
  out.reference_length = static_cast<int64_t>(reference_tokens.size());
  for (size_t n = 1; n <= 4; ++n) {
    const auto known = gram_counts(reference_tokens, n);
    for (const auto& [gram, count] : gram_counts(hypothesis_tokens, n)) {
      out.totals[n - 1] += count;
      const auto it = known.find(gram);
      if (it != known.end()) out.matches[n - 1] += std::min(count, it->second);
    }
  }
  return out;
}

double bleu(const BleuStatistics& s, bool effective_order) {
  if (std::all_of(s.matches.begin(), s.matches.end(), [](int64_t m) { return m == 0; })) return 0;
  double logs = 0, smoothing = 1;
  int orders = 0;
  for (size_t n = 0; n < 4; ++n) {
    if (s.totals[n] == 0) {
      if (!effective_order) return 0;
      break;
    }
    double matches = static_cast<double>(s.matches[n]);
    if (s.matches[n] == 0) {
      smoothing *= 2;
      matches = 1 / smoothing;
    }
    logs += std::log(matches / static_cast<double>(s.totals[n]));
    ++orders;
  }
  const double brevity = s.hypothesis_length < s.reference_length
                             ? std::exp(1 - static_cast<double>(s.reference_length) /
                                                static_cast<double>(s.hypothesis_length))
                             : 1;
  return 100 * brevity * std::exp(logs / orders);
}

double sentence_bleu(const std::string& hypothesis, const std::string& reference) {
  return bleu(bleu_statistics(hypothesis, reference), true);
}

std::vector<std::string> rouge_tokens(const std::string& text) {
  std::string kept = to_lower(text);
  for (char& c : kept) {
    if (!digit(c) && !(c >= 'a' && c <= 'z')) c = ' ';
  }
  return split_spaces(kept);
}

RougeL rouge_l(const std::string& hypothesis, const std::string& reference) {
  const auto a = rouge_tokens(hypothesis), b = rouge_tokens(reference);
  if (a.empty() || b.empty()) return {};
  // row[j]: length of the longest common subsequence of a[0, i) and b[0, j).
  std::vector<int64_t> row(b.size() + 1, 0);
  for (const std::string& token : a) {
    int64_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t above = row[j];
      row[j] = token == b[j - 1] ? diagonal + 1 : std::max(row[j], row[j - 1]);
      diagonal = above;
    }
  }
  const double common = static_cast<double>(row.back());
  RougeL out{common / static_cast<double>(a.size()), common / static_cast<double>(b.size()), 0};
  if (common > 0) out.f1 = 2 * out.precision * out.recall / (out.precision + out.recall);
  return out;
}

}  // namespace mose::eval
