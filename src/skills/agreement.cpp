#include "mose/skills/agreement.h"

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::skills {

std::vector<Sentence> answer_sentences(const std::string& answer, const std::vector<Segment>& segments, const Taxonomy& taxonomy) {
  std::vector<Sentence> out;
  for (const HeaderSlice& slice : slice_answer(answer, taxonomy)) {
    const bool header = slice.text > slice.begin;
    for (const Span& found : sentences(Span{slice.text, slice.end}.of(answer))) {
      const Span span{slice.text + found.begin, slice.text + found.end};
      int64_t stage = header ? slice.stage : -1;
      for (const Segment& segment : segments) {
        if (!header && span.begin >= segment.begin && span.begin < segment.end) stage = segment.stage;
      }
      out.push_back({span, stage});
    }
  }
  return out;
}

std::vector<std::set<int64_t>> sentence_skills(const std::vector<Sentence>& sentences, const std::vector<Label>& labels) {
  std::vector<std::set<int64_t>> out(sentences.size());
  for (const Label& label : labels) {
    if (label.skill < 0) continue;
    size_t best = 0;
    int64_t most = 0;
    for (size_t i = 0; i < sentences.size(); ++i) {
      const int64_t shared = std::min(sentences[i].span.end, label.end) - std::max(sentences[i].span.begin, label.begin);
      if (shared > most) {
        most = shared;
        best = i;
      }
    }
    if (most > 0) out[best].insert(label.skill);
  }
  return out;
}

double SkillAgreement::share() const {
  const auto n = static_cast<double>(sentences());
  return n > 0 ? static_cast<double>(both + neither) / n : 0;
}

std::optional<double> SkillAgreement::kappa() const {
  const auto n = static_cast<double>(sentences());
  if (n == 0) return {};
  const double a = static_cast<double>(both + first) / n, b = static_cast<double>(both + second) / n;
  const double chance = a * b + (1 - a) * (1 - b);
  if (chance >= 1) return {};
  return (share() - chance) / (1 - chance);
}

void Agreement::add(const std::vector<std::set<int64_t>>& first, const std::vector<std::set<int64_t>>& second) {
  if (first.size() != second.size()) throw Error(str("agreement: ", first.size(), " sentences against ", second.size()));
  for (size_t i = 0; i < first.size(); ++i) {
    for (size_t s = 0; s < skills_.size(); ++s) {
      const bool a = first[i].contains(static_cast<int64_t>(s)), b = second[i].contains(static_cast<int64_t>(s));
      ++(a && b ? skills_[s].both : a ? skills_[s].first : b ? skills_[s].second : skills_[s].neither);
    }
  }
}

Json Agreement::to_json() const {
  const auto number = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  SkillAgreement all;
  Json by_skill = Json::object();
  for (size_t s = 0; s < skills_.size(); ++s) {
    const SkillAgreement& a = skills_[s];
    by_skill[taxonomy_.skills()[s].name] = {{"both", a.both},       {"first", a.first},   {"second", a.second},
                                            {"neither", a.neither}, {"share", a.share()}, {"kappa", number(a.kappa())}};
    all.both += a.both;
    all.first += a.first;
    all.second += a.second;
    all.neither += a.neither;
  }
  return {{"sentences", skills_.empty() ? 0 : skills_[0].sentences()}, {"share", all.share()}, {"kappa", number(all.kappa())}, {"skills", by_skill}};
}

}  // namespace mose::skills
