// What scores.json holds beside the judges' scores: facts and text overlap over all items.
#pragma once

#include "eval/score_items.h"

namespace mose::eval {

// facts.<describe|reason|plan> and region_facts.<describe|reason>, each key after `prefix`.
void add_facts(const FactReference& reference, const Tasks& tasks, const Answers& answers,
               const std::string& prefix, Json& out);

// {"rouge_l", "bleu", "sentence_bleu", "count", <task>: the same}
Json text_scores(const Tasks& tasks, const Answers& answers);

}  // namespace mose::eval
