// Which of CODA's categories a text mentions, by a lexicon: what an answer left out or made up,
// without a judge.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/fact_metrics.h"

namespace mose::eval {

class MentionLexicon {
 public:
  // Reads {"categories": {CODA's name: [phrase, ...]}, "ignore": [...], "negations": [...]}.
  // DataError names file, table and value on a category that CODA does not have, a missing table,
  // or a phrase that is empty or listed twice.
  static MentionLexicon load(const std::filesystem::path& file);

  // The categories that `text` mentions. Words are compared in lower case; at each word the longest
  // phrase is taken, whose last word may end in -s or -es; one right after a negation counts not.
  std::set<std::string> categories(const std::string& text) const;

 private:
  struct Entry {
    std::vector<std::string> words;
    std::string category;  // "" for what mentions nothing
    bool negation = false;
  };
  void add(const std::string& phrase, Entry entry, const std::string& where);
  const Entry* longest(const std::vector<std::string>& words, size_t at) const;

  std::map<std::string, std::vector<Entry>> by_first_word_;  // the longest first
};

// "traffic_cone" -> "cone": the classes of the region scores.
std::set<std::string> mentioned_classes(const std::set<std::string>& categories);

// Precision, recall and F1 of the mentions in answers against those in the references.
class MentionScore {
 public:
  explicit MentionScore(const MentionLexicon& lexicon) : lexicon_(lexicon) {}
  void add(const std::string& prediction, const std::string& reference);
  // {"classes": of the seven classes, "categories": of CODA's names}, each as FactScore::to_json.
  Json to_json() const;

 private:
  const MentionLexicon& lexicon_;
  FactScore classes_, categories_;
};

}  // namespace mose::eval
