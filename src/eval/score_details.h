// What scores.json holds beside the judges' scores: facts and text overlap over all items.
#pragma once

#include "eval/score_items.h"

namespace mose::eval {

// facts.<describe|reason|plan> and region_facts.<describe|reason>, each key after `prefix`.
void add_facts(const FactReference& reference, const Tasks& tasks, const Answers& answers,
               const std::string& prefix, Json& out);

// `prefix`text: {"rouge_l", "bleu", "sentence_bleu", "cider", "count", <task>: the same}, and
// `prefix`mentions: {<task>: see MentionScore::to_json}; over the items that have a reference.
void add_text(const Tasks& tasks, const Answers& answers, const std::string& prefix, Json& out);

}  // namespace mose::eval
