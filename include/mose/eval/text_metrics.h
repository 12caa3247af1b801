// Surface similarity of two texts: BLEU-4 (Papineni et al., 2002) and ROUGE-L (Lin, 2004).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace mose::eval {

// Tokens as mteval-v13a (and sacrebleu's default "13a") makes them, letter case kept: the four
// entities &quot; &amp; &lt; &gt; are undone; ASCII symbols other than ' , - . stand alone; a full
// stop or comma stands alone unless digits are on both sides; a dash after a digit stands alone.
std::vector<std::string> bleu_tokens(const std::string& text);

// What BLEU adds up over a corpus; index n - 1 holds the n-grams of length n.
struct BleuStatistics {
  std::array<int64_t, 4> matches{};  // clipped by the reference's counts
  std::array<int64_t, 4> totals{};   // in the hypothesis
  int64_t hypothesis_length = 0, reference_length = 0;

  BleuStatistics& operator+=(const BleuStatistics& other);
};
BleuStatistics bleu_statistics(const std::string& hypothesis, const std::string& reference);

// 100 · BP · exp(mean_n log p_n), BP = min(1, exp(1 - reference / hypothesis)). "exp" smoothing:
// the k-th order without a match counts as 1 / (2^k · total). Zero without any match. With
// `effective_order` the mean runs over the orders that the hypothesis is long enough to have, as is
// right for single sentences; without it a hypothesis too short for 4-grams scores 0.
double bleu(const BleuStatistics& statistics, bool effective_order);
double sentence_bleu(const std::string& hypothesis, const std::string& reference);

// Lower-case runs of [a-z0-9], as the rouge-score package makes them without stemming.
std::vector<std::string> rouge_tokens(const std::string& text);

// From the longest common subsequence of tokens, 0 to 1; f1 = 2PR / (P + R). All zero when either
// text has no tokens.
struct RougeL {
  double precision = 0, recall = 0, f1 = 0;
};
RougeL rouge_l(const std::string& hypothesis, const std::string& reference);

}  // namespace mose::eval
