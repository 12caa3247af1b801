#include "eval/score_judges.h"

#include <set>

#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/eval/recorded.h"

namespace mose::eval {

std::shared_ptr<const FactReference> fact_reference(const ScoreOptions& options) {
  const auto lexicon = options.lexicon.empty() ? resource("facts/driving.json") : options.lexicon;
  return std::make_shared<const FactReference>(options.root, options.split,
                                               FactLexicon::load(lexicon));
}

std::vector<std::unique_ptr<OpenAiJudge>> make_openai_judges(const ScoreOptions& options) {
  if (options.models.empty()) {
    throw UsageError(
        "--judge openai: --model is missing: the name under which the server knows the "
        "judge");
  }
  const auto protocol = std::make_shared<const Protocol>(
      load_protocol(options.protocol.empty() ? default_protocol() : options.protocol));
  std::shared_ptr<const Prices> prices;
  if (!options.prices.empty()) prices = std::make_shared<const Prices>(load_prices(options.prices));
  const auto cache = std::make_shared<VerdictCache>(options.cache);
  std::vector<std::unique_ptr<OpenAiJudge>> judges;
  for (const std::string& model : options.models) {
    judges.push_back(std::make_unique<OpenAiJudge>(options.server, model, protocol, cache, prices,
                                                   options.repeats));
  }
  return judges;
}

std::vector<std::unique_ptr<Judge>> make_judges(const ScoreOptions& options) {
  std::vector<std::unique_ptr<Judge>> judges;
  for (const std::string& name : options.judges) {
    if (name == "facts") {
      judges.push_back(make_facts_judge(fact_reference(options)));
    } else if (name == "text") {
      judges.push_back(make_text_judge());
    } else if (name == "openai") {
      for (auto& judge : make_openai_judges(options)) judges.push_back(std::move(judge));
    } else if (name == "recorded") {
      if (options.recording.empty()) {
        throw UsageError("--judge recorded: --recording is missing: the file of verdicts");
      }
      for (auto& judge : load_recording(options.recording)) judges.push_back(std::move(judge));
    } else {
      throw UsageError(str("judge \"", name, "\": expected facts, text, openai or recorded"));
    }
  }
  std::set<std::string> names;
  for (const auto& judge : judges) {
    if (!names.insert(judge->name()).second) {
      throw UsageError(str("the judge ", judge->name(), " is named twice"));
    }
  }
  return judges;
}

}  // namespace mose::eval
