// Scores of answer files against a split: what `mose-eval score` writes.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::eval {

struct ScoreOptions {
  std::filesystem::path root;     // a set in CODA-LM's layout
  std::string split;              // Train, Val, Test or Mini
  std::filesystem::path answers;  // holds <task>_answer.jsonl
  // Answers of the same model to images replaced by their mean colour; empty without this control.
  std::filesystem::path blind_answers;
  std::vector<std::string> judges;  // "facts", "text"; the first one gives tasks, regions, final
  std::filesystem::path lexicon;    // facts only; empty for configs/facts/driving.json
};

// The content of scores.json:
//   judge, comparable, comparability (a sentence), split
//   tasks.<task>: official, strict (0 to 100 or null), count, judged, missing, unjudged, empty,
//     duplicate, unknown, repeat_deviation (of a judge asked more than once: the root mean variance
//     of an item's verdicts), and lists.<the same> with the items' names (the first 50)
//   regions.<class>: official, strict, count
//   final, final_strict: mean of the three tasks; null when one of them is null
//   facts.<describe|reason|plan>, region_facts.<describe|reason>: see FactScore::to_json
//   text.{rouge_l, bleu} over all tasks, text.<task>.{rouge_l, bleu, sentence_bleu, count}
//   blind_facts, blind_region_facts, blind_text: the same for blind_answers
//   judges.<name>: tasks, regions, final, final_strict of every judge, when there are several
// `official` is the mean over the answered items, as the published scripts form it; in `strict` a
// missing answer has the judge's lowest score; in facts and text it counts as an empty one.
//
// `on_item` gets the rows of items.jsonl, one an item, judge and repeat: task, id, region,
// region_class, question_id, image, reference, prediction (null when missing), judge, repeat, score
// (0 to 100 or null), reason (why there is none), reply (the judge's words, "" of offline judges).
Json score(const ScoreOptions& options, const std::function<void(const Json&)>& on_item = {});

// A table of tasks and, where there are any, of facts and text, for stdout.
std::string score_table(const Json& scores);

}  // namespace mose::eval
