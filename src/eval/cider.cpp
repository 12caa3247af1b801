#include "mose/eval/cider.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

constexpr size_t kOrders = 4;
constexpr double kSigma = 6;

// Counts of the n-grams of each order; words of an n-gram are joined by a space.
using Counts = std::array<std::unordered_map<std::string, double>, kOrders>;

Counts count_grams(const std::vector<std::string>& tokens) {
  Counts counts;
  for (size_t begin = 0; begin < tokens.size(); ++begin) {
    std::string gram;
    for (size_t n = 0; n < kOrders && begin + n < tokens.size(); ++n) {
      gram += (n ? " " : "") + tokens[begin + n];
      ++counts[n][gram];
    }
  }
  return counts;
}

struct Vector {
  Counts weights;
  std::array<double, kOrders> norm{};
  double length = 0;  // bigrams
};

Vector weigh(const std::vector<std::string>& tokens, const Counts& document_frequency,
             double log_items) {
  Vector v{count_grams(tokens)};
  for (size_t n = 0; n < kOrders; ++n) {
    for (auto& [gram, weight] : v.weights[n]) {
      if (n == 1) v.length += weight;
      const auto known = document_frequency[n].find(gram);
      const double df = known == document_frequency[n].end() ? 1 : known->second;
      weight *= log_items - std::log(std::max(1.0, df));
      v.norm[n] += weight * weight;
    }
    v.norm[n] = std::sqrt(v.norm[n]);
  }
  return v;
}

double similarity(const Vector& hypothesis, const Vector& reference) {
  double sum = 0;
  for (size_t n = 0; n < kOrders; ++n) {
    double dot = 0;
    for (const auto& [gram, weight] : hypothesis.weights[n]) {
      const auto other = reference.weights[n].find(gram);
      if (other == reference.weights[n].end()) continue;
      dot += std::min(weight, other->second) * other->second;
    }
    const double norms = hypothesis.norm[n] * reference.norm[n];
    if (norms != 0) sum += dot / norms;
  }
  const double apart = hypothesis.length - reference.length;
  return 10 * std::exp(-apart * apart / (2 * kSigma * kSigma)) * sum / kOrders;
}

}  // namespace

CiderScore cider_d(const TokenLists& hypotheses, const TokenLists& references) {
  if (hypotheses.size() != references.size()) {
    throw Error(str("CIDEr: expected one hypothesis a reference, found ", hypotheses.size(),
                    " and ", references.size()));
  }
  CiderScore out;
  if (references.empty()) return out;
  Counts document_frequency;
  for (const auto& tokens : references) {
    const Counts counts = count_grams(tokens);
    for (size_t n = 0; n < kOrders; ++n) {
      for (const auto& [gram, count] : counts[n]) ++document_frequency[n][gram];
    }
  }
  const double items = static_cast<double>(references.size());
  for (size_t i = 0; i < references.size(); ++i) {
    out.scores.push_back(similarity(weigh(hypotheses[i], document_frequency, std::log(items)),
                                    weigh(references[i], document_frequency, std::log(items))));
    out.mean += out.scores.back() / items;
  }
  return out;
}

}  // namespace mose::eval
