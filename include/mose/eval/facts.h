// Facts in free text: the rule-based extractor by which predictions and references are compared.
//
// A fact is one of
//   describe: "<class>@<place>", "weather:<value>", "time:<value>"
//   reason:   "<class>:<risk>"
//   plan:     "<action>"
// with values from the closed vocabularies of a lexicon (configs/facts/driving.json).
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace mose::eval {

struct FactSet {
  std::set<std::string> describe, reason, plan;
  bool operator==(const FactSet&) const = default;
};

class FactLexicon {
 public:
  // Reads {"classes": {value: [phrase, ...]}, "places", "risks", "actions", "weather", "time",
  // "ignore": [phrase, ...], "negations": [phrase, ...]}. DataError names the file, the table and
  // the value on a missing table, a value without phrases, or a phrase listed twice.
  static FactLexicon load(const std::filesystem::path& file);

  // The facts that `text` states, by rules alone; the same for a reference and for a prediction.
  // Sentence by sentence:
  //  - phrases of all tables are matched on whole words from left to right, the longest first, so
  //    that "construction vehicle" is one mention and "change to the left lane" states no place;
  //    phrases of "ignore" are skipped ("ego car" is no car);
  //  - a place belongs to the nearest class before it; in a sentence that begins with a place
  //    ("In the left lane there is a bus"), to the nearest class after it;
  //  - a risk belongs to the last class before it in the sentence, else to the first after it, else
  //    to the last class of an earlier sentence;
  //  - an action is a plan fact wherever it stands, unless a negation stands up to three words
  //    before it; a class with a negation right before it ("no pedestrian") states nothing.
  FactSet extract(const std::string& text) const;

  const std::vector<std::string>& classes() const;
  const std::vector<std::string>& places() const;
  const std::vector<std::string>& risks() const;
  const std::vector<std::string>& actions() const;
  const std::vector<std::string>& weather() const;
  const std::vector<std::string>& times() const;

 private:
  struct Tables;
  std::shared_ptr<const Tables> tables_;
};

// The true facts of DIR/facts/<Split>/<id>.json: of the whole scene when `region` is "", else those
// of that region ("1", "2", ...; plan is empty). DataError names the file and the field.
FactSet load_facts(const std::filesystem::path& file, const std::string& region = "");

}  // namespace mose::eval
