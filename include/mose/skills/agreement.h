// How far two annotators agree on which sentence exercises which skill.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "mose/core/json.h"
#include "mose/skills/dataset.h"
#include "mose/skills/phrases.h"

namespace mose::skills {

// The sentences of an answer that are labelled one by one: those after headers, or of the whole answer.
struct Sentence {
  Span span;
  int64_t stage = -1;  // that the header or the task gives; -1 = not known
};
std::vector<Sentence> answer_sentences(const std::string& answer, const std::vector<Segment>& segments, const Taxonomy& taxonomy);

// The skills of each sentence: those of labels that have more of their bytes in it than in any other (the first of equals).
std::vector<std::set<int64_t>> sentence_skills(const std::vector<Sentence>& sentences, const std::vector<Label>& labels);

// One skill over sentences: labelled by both, by one alone, by neither.
struct SkillAgreement {
  int64_t both = 0, first = 0, second = 0, neither = 0;

  int64_t sentences() const { return both + first + second + neither; }
  double share() const;  // of the sentences that the two label alike; 0 without sentences
  // Cohen's kappa, (share - chance) / (1 - chance), chance being that of two annotators who label as often as these do, at
  // random. Nothing where chance is 1: both label every sentence, or none.
  std::optional<double> kappa() const;
};

class Agreement {
 public:
  explicit Agreement(const Taxonomy& taxonomy) : taxonomy_(taxonomy), skills_(taxonomy.skills().size()) {}
  void add(const std::vector<std::set<int64_t>>& first, const std::vector<std::set<int64_t>>& second);
  const std::vector<SkillAgreement>& skills() const { return skills_; }
  // {"sentences", "share", "kappa" (of all pairs of sentence and skill), "skills": {name: {"both", "first", "second", "neither",
  // "share", "kappa" (null where there is none)}}}.
  Json to_json() const;

 private:
  const Taxonomy& taxonomy_;
  std::vector<SkillAgreement> skills_;
};

}  // namespace mose::skills
