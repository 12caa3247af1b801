// The judges that a score's options name.
#pragma once

#include <memory>
#include <vector>

#include "eval/score_items.h"
#include "mose/eval/score.h"

namespace mose::eval {

std::shared_ptr<const FactReference> fact_reference(const ScoreOptions& options);

// The judges "openai", one a model. UsageError when no model is named or one twice.
std::vector<std::unique_ptr<OpenAiJudge>> make_openai_judges(const ScoreOptions& options);

// All of them in the order of options.judges. UsageError when two have one name.
std::vector<std::unique_ptr<Judge>> make_judges(const ScoreOptions& options);

}  // namespace mose::eval
