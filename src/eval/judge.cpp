#include "mose/eval/judge.h"

#include <algorithm>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/eval/fact_metrics.h"
#include "mose/eval/text_metrics.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

FactSet asked(const Question& question, FactSet facts) {
  if (question.task == coda::kTasks[2]) {
    facts.describe.clear();
    facts.reason.clear();
  } else {
    facts.plan.clear();
  }
  return facts;
}

std::string not_comparable(const std::string& name, const std::string& what) {
  return str("Not comparable with published CODA-LM scores: the judge \"", name, "\" is a ", what,
             "; published scores come from a language model as judge.");
}

class FactsJudge : public Judge {
 public:
  explicit FactsJudge(std::shared_ptr<const FactReference> facts) : facts_(std::move(facts)) {}
  std::string name() const override { return "facts"; }
  std::string comparability() const override {
    return not_comparable(name(),
                          "rule-based comparison of the classes, places, risks and actions that an "
                          "answer states with the scene's true facts");
  }
  Verdict rate(const JudgeRequest& request) override {
    const FactSet expected = facts_->expected(request.question);
    const FactSet predicted = facts_->predicted(request.question, request.prediction);
    FactCounts counts = count_facts(predicted.describe, expected.describe);
    counts += count_facts(predicted.reason, expected.reason);
    counts += count_facts(predicted.plan, expected.plan);
    return {100 * counts.f1(), "", ""};
  }

 private:
  std::shared_ptr<const FactReference> facts_;
};

class TextJudge : public Judge {
 public:
  std::string name() const override { return "text"; }
  std::string comparability() const override {
    return not_comparable(name(), "ROUGE-L F1 of an answer's words against the reference answer");
  }
  std::string unjudgeable(const Question& question) const override {
    return trim(question.reference).empty() ? "no reference answer" : "";
  }
  Verdict rate(const JudgeRequest& request) override {
    return {100 * rouge_l(request.prediction, request.question.reference).f1, "", ""};
  }
};

}  // namespace

std::vector<Verdict> Judge::rate_all(const std::vector<JudgeRequest>& requests) {
  std::vector<Verdict> verdicts;
  verdicts.reserve(requests.size());
  for (const JudgeRequest& request : requests) verdicts.push_back(rate(request));
  return verdicts;
}

FactReference::FactReference(fs::path root, const std::string& split, FactLexicon lexicon)
    : dir_(root / "facts" / coda::split_name(split)), lexicon_(std::move(lexicon)) {
  if (!fs::is_directory(dir_)) {
    throw DataError(str(dir_.string(),
                        ": not there: the facts judge needs a set written by "
                        "mose-data scenes, which stores each scene's true facts; use --judge text "
                        "for other sets"));
  }
}

FactSet FactReference::expected(const Question& question) const {
  return asked(question, load_facts(dir_ / (question.id + ".json"), question.region));
}

FactSet FactReference::predicted(const Question& question, const std::string& answer) const {
  return asked(question, lexicon_.extract(answer));
}

std::unique_ptr<Judge> make_facts_judge(std::shared_ptr<const FactReference> facts) {
  return std::make_unique<FactsJudge>(std::move(facts));
}

std::unique_ptr<Judge> make_text_judge() {
  return std::make_unique<TextJudge>();
}

std::vector<std::string> parse_judges(const std::string& list) {
  const std::vector<std::string> known = {"facts", "text", "openai", "recorded"};
  std::vector<std::string> names;
  for (const std::string& item : split(list, ',')) {
    const std::string name = trim(item);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw UsageError(str("--judge ", list, ": expected ", join(known, ", "),
                           ", or several with a comma between, found \"", name, "\""));
    }
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      throw UsageError(str("--judge ", list, ": ", name, " is named twice"));
    }
    names.push_back(name);
  }
  return names;
}

}  // namespace mose::eval
