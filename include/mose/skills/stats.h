// How far a skill dataset's labels reach: by stage, skill and rule.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mose/skills/dataset.h"
#include "mose/skills/phrases.h"
#include "mose/text/tokenizer.h"

namespace mose::skills {

// Cuts an answer into what is counted: words, or a tokenizer's tokens. A unit belongs to a label
// when its first byte does.
struct Units {
  std::string name;  // "words"
  std::function<std::vector<Span>(const std::string&)> of;
};
Units word_units();
Units token_units(std::shared_ptr<const text::Tokenizer> tokenizer);

struct Coverage {
  std::string name;     // of the stage, skill or rule
  int64_t samples = 0;  // with at least one such label
  int64_t labels = 0;
  int64_t units = 0;      // under at least one such label
  double confidence = 0;  // mean over the labels
};

struct Stats {
  std::string unit;
  int64_t samples = 0, units = 0;
  int64_t with_stage = 0, with_skill = 0;  // units under any label, under any skill's label
  std::map<std::string, int64_t> tasks;    // "single_turn/scene" -> samples
  std::vector<Coverage> stages, skills, rules;  // in the taxonomy's order; rules that gave nothing too
};

Stats collect_stats(const std::vector<Sample>& samples, const Taxonomy& taxonomy, const Units& units);
Json stats_to_json(const Stats& stats);
std::string stats_to_table(const Stats& stats);

}  // namespace mose::skills
