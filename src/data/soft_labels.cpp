#include "data/soft_labels.h"

#include <algorithm>
#include <cctype>
#include <map>

namespace mose::data {
namespace {

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// The token's bytes without leading white space, unless nothing else is left: " bar" after a labelled
// "foo " belongs to what "bar" is labelled with.
int64_t text_begin(const text::TokenSpan& token, const std::string& answer) {
  int64_t at = token.begin;
  while (at < token.end && is_space(answer[static_cast<size_t>(at)])) ++at;
  return at < token.end ? at : token.begin;
}

// Index of each sentence's first byte.
std::vector<int64_t> sentence_begins(const std::string& answer) {
  std::vector<int64_t> begins{0};
  for (size_t i = 0; i < answer.size(); ++i) {
    const char c = answer[i];
    const bool stop = (c == '.' || c == '!' || c == '?') &&
                      (i + 1 == answer.size() || is_space(answer[i + 1]));
    if ((stop || c == '\n') && i + 1 < answer.size()) begins.push_back(static_cast<int64_t>(i) + 1);
  }
  return begins;
}

}  // namespace

SoftLabel make_soft_label(const std::vector<double>& weights, double confidence) {
  SoftLabel label;
  double sum = 0;
  for (const double weight : weights) sum += std::max(weight, 0.0);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    label.classes.emplace_back(static_cast<int32_t>(i), static_cast<float>(weights[i] / sum));
  }
  label.weight = label.classes.empty() ? 0.0f : static_cast<float>(confidence);
  return label;
}

RowLabels label_tokens(const std::vector<text::TokenSpan>& tokens, const skills::Sample& sample,
                       const skills::Taxonomy& taxonomy, Level level) {
  const size_t classes = level == Level::kStage ? taxonomy.stages().size() : taxonomy.skills().size();
  RowLabels rows;
  rows.row.assign(tokens.size(), -1);
  std::map<std::vector<double>, int32_t> known;
  for (size_t t = 0; t < tokens.size(); ++t) {
    const int64_t begin = text_begin(tokens[t], sample.answer), end = tokens[t].end;
    std::vector<double> weights(classes, 0.0);
    double confidence = 0;
    for (const skills::Label& label : sample.labels) {
      if (std::max(begin, label.begin) >= std::min(end, label.end)) continue;
      int64_t index = label.skill;
      if (level == Level::kStage) {
        index = label.skill >= 0 ? taxonomy.skills()[static_cast<size_t>(label.skill)].stage
                                 : label.stage;
      }
      if (index < 0) continue;
      double& weight = weights[static_cast<size_t>(index)];
      weight = std::max(weight, label.confidence);
      confidence = std::max(confidence, label.confidence);
    }
    if (confidence <= 0) continue;
    const auto [place, is_new] = known.emplace(weights, static_cast<int32_t>(rows.labels.size()));
    if (is_new) rows.labels.push_back(make_soft_label(weights, confidence));
    rows.row[t] = place->second;
  }
  return rows;
}

SoftLabel mean_label(const RowLabels& rows, int64_t classes) {
  std::vector<double> weights(static_cast<size_t>(classes), 0.0);
  double total = 0;
  int64_t labelled = 0;
  for (const int32_t index : rows.row) {
    if (index < 0) continue;
    const SoftLabel& label = rows.labels[static_cast<size_t>(index)];
    for (const auto& [c, share] : label.classes) {
      weights[static_cast<size_t>(c)] += static_cast<double>(share) * label.weight;
    }
    total += label.weight;
    ++labelled;
  }
  return make_soft_label(weights, labelled == 0 ? 0.0 : total / static_cast<double>(labelled));
}

void spread_over_sentences(RowLabels& rows, const std::vector<text::TokenSpan>& tokens,
                           const std::string& answer) {
  const std::vector<int64_t> begins = sentence_begins(answer);
  std::vector<std::vector<size_t>> sentences(begins.size());
  for (size_t t = 0; t < tokens.size(); ++t) {
    const auto next = std::upper_bound(begins.begin(), begins.end(), text_begin(tokens[t], answer));
    sentences[static_cast<size_t>(next - begins.begin() - 1)].push_back(t);
  }
  for (const std::vector<size_t>& sentence : sentences) {
    std::vector<int64_t> votes(rows.labels.size(), 0);
    for (const size_t t : sentence) {
      if (rows.row[t] >= 0) ++votes[static_cast<size_t>(rows.row[t])];
    }
    const auto best = std::max_element(votes.begin(), votes.end());
    if (best == votes.end() || *best == 0) continue;
    for (const size_t t : sentence) rows.row[t] = static_cast<int32_t>(best - votes.begin());
  }
}

}  // namespace mose::data
