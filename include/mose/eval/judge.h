// Judges rate one answer at a time. Those here work offline and are not the published protocol's
// judge, so their scores compare with each other only.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mose/eval/facts.h"
#include "mose/eval/questions.h"

namespace mose::eval {

struct JudgeRequest {
  const Question& question;       // with its reference
  const std::string& prediction;  // may be empty
};

struct Verdict {
  std::optional<double> score;  // 0 to 100; nothing when the item cannot be judged
  std::string reason;           // why not; "" otherwise
};

class Judge {
 public:
  virtual ~Judge() = default;
  virtual std::string name() const = 0;
  // One sentence for readers of the scores.
  virtual std::string description() const = 0;
  virtual Verdict rate(const JudgeRequest& request) = 0;
};

// The true facts of a split (DIR/facts/<Split>/<id>.json), and what an answer states of them.
class FactReference {
 public:
  // DataError when the root has no facts of the split: only `mose-data scenes` writes them.
  FactReference(std::filesystem::path root, const std::string& split, FactLexicon lexicon);

  // The facts that the question asks for. General perception: describe and reason; driving
  // suggestion: plan; a region: describe and reason of that region.
  FactSet expected(const Question& question) const;
  // The facts that `answer` states, limited to the same stages.
  FactSet predicted(const Question& question, const std::string& answer) const;

 private:
  std::filesystem::path dir_;
  FactLexicon lexicon_;
};

// 100 · F1 of the item's facts, all its stages together.
std::unique_ptr<Judge> make_facts_judge(std::shared_ptr<const FactReference> facts);
// 100 · ROUGE-L F1 against the reference answer; an item without a reference cannot be judged.
std::unique_ptr<Judge> make_text_judge();

// "facts,text" -> {"facts", "text"}. UsageError on an unknown, repeated or empty name.
std::vector<std::string> parse_judges(const std::string& list);

}  // namespace mose::eval
