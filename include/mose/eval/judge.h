// Judges rate answers. The offline ones here are not the published protocol's judge, so their
// scores compare with each other only; openai.h has the language model as judge, recorded.h its
// replay.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/facts.h"
#include "mose/eval/questions.h"

namespace mose::eval {

struct JudgeRequest {
  const Question& question;       // with its reference
  const std::string& prediction;  // may be empty
  int64_t repeat = 0;             // 0, 1, ... of a judge that is asked more than once
};

struct Verdict {
  std::optional<double> score;  // 0 to 100; nothing when the item could not be judged
  std::string reason;           // why not; "" otherwise
  std::string reply;            // the judge's own words; "" of a judge without any
};

class Judge {
 public:
  virtual ~Judge() = default;
  virtual std::string name() const = 0;
  // One sentence for readers of the scores: what kind of judge, and with what its scores compare.
  virtual std::string comparability() const = 0;
  virtual bool comparable() const { return false; }  // with published CODA-LM scores
  // The lowest score of the judge's scale, 0 to 100: what a missing answer is worth.
  virtual double lowest() const { return 0; }
  // How often each item is judged.
  virtual int64_t repeats() const { return 1; }
  // Why no answer to this question can be judged; "" when it can.
  virtual std::string unjudgeable(const Question&) const { return ""; }
  // The class under which a region's score counts; "" for one that counts nowhere.
  virtual std::string region_class(const Question& question) const { return question.region_class; }

  virtual Verdict rate(const JudgeRequest& request) = 0;
  // The verdicts in the order of the requests; a judge that can works on many at once.
  virtual std::vector<Verdict> rate_all(const std::vector<JudgeRequest>& requests);
  // What scores.json says of this judge beside its scores: model, protocol, what was spent.
  virtual Json details() const { return Json::object(); }
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

// "facts,text" -> {"facts", "text"}; also "openai" and "recorded". UsageError on an unknown,
// repeated or empty name.
std::vector<std::string> parse_judges(const std::string& list);

}  // namespace mose::eval
