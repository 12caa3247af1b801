// Scores of answer files against a split: what `mose-eval score` writes.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/openai.h"

namespace mose::eval {

struct ScoreOptions {
  std::filesystem::path root;     // a set in CODA-LM's layout
  std::string split;              // Train, Val, Test or Mini
  std::filesystem::path answers;  // holds <task>_answer.jsonl
  // Answers of the same model to images replaced by their mean colour; empty without this control.
  std::filesystem::path blind_answers;
  // "facts", "text", "openai", "recorded"; the first one gives tasks, regions, final.
  std::vector<std::string> judges;
  std::filesystem::path lexicon;  // facts only; empty for configs/facts/driving.json

  // The judge openai, once for each model.
  std::vector<std::string> models;
  OpenAiOptions server;
  std::filesystem::path protocol;  // empty for configs/protocols/mose.json
  std::filesystem::path cache;     // of verdicts, an SQLite file
  std::filesystem::path prices;    // empty: money is not counted
  int64_t repeats = 1;             // how often a model judges each item

  std::filesystem::path recording;  // the judge recorded
};

// The content of scores.json:
//   judge, comparable, comparability (a sentence), split
//   predict: the answers' predict.json where there is one (form, controls, oracle, counts, seconds)
//   tasks.<task>: official, strict (0 to 100 or null), count, judged, missing, unjudged, empty,
//     duplicate, unknown, repeat_deviation (of a judge asked more than once: the root mean variance
//     of an item's verdicts), and lists.<the same> with the items' names (the first 50)
//   regions.<class>: official, strict, count
//   final, final_strict: mean of the three tasks; null when one of them is null
//   facts.<describe|reason|plan>, region_facts.<describe|reason>: see FactScore::to_json
//   text.{rouge_l, bleu, sentence_bleu, cider, count} over all tasks, text.<task>.{the same};
//     cider is CIDEr-D, 0 to 10, over rouge_tokens
//   mentions.<task>.{classes, categories}: see MentionScore::to_json
//   blind_facts, blind_region_facts, blind_text, blind_mentions: the same for blind_answers
//   of the judge openai: model, base_url, protocol.{name, source, sha256, published}, repeats, and
//     spent.{requests, failed_requests, verdicts, from_cache, prompt_tokens, completion_tokens,
//     cost} over all verdicts, run_{prompt_tokens, completion_tokens, cost} of this run, currency
//   judges.<name>: tasks, regions, final, final_strict and the like of every judge, when there are
//     several
// `official` is the mean over the answered items, as the published scripts form it; in `strict` a
// missing answer has the judge's lowest score; in facts and text it counts as an empty one.
//
// `on_item` gets the rows of items.jsonl, one an item, judge and repeat: task, id, region,
// region_class, question_id, image, reference, prediction (null when missing), judge, repeat, score
// (0 to 100, the lowest for a missing answer, or null), reason ("missing", or why there is none),
// reply (the judge's words, "" of offline judges).
Json score(const ScoreOptions& options, const std::function<void(const Json&)>& on_item = {});

// A table of tasks and, where there are any, of facts and text, for stdout.
std::string score_table(const Json& scores);

}  // namespace mose::eval
