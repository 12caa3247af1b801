// The judging of a score through a provider's batch interface: a file of requests out, a file of
// replies in. `score` then finds the verdicts in the cache.
#pragma once

#include <filesystem>
#include <vector>

#include "mose/eval/score.h"

namespace mose::eval {

// What `score` with these options would ask, before anything is sent: for each model of the judge
// "openai" requests, from_cache, prompt_tokens, completion_tokens (of the requests; a guess: the
// mean of this model's verdicts in the cache, else 200), cost (null without a price), currency,
// tokens (how they were counted).
Json plan_score(const ScoreOptions& options, const std::filesystem::path& tokenizer);
std::string plan_table(const Json& plan);

// Writes OUT with one line for each request that the cache lacks: {"custom_id": the verdict's key,
// "method": "POST", "url": "/v1/chat/completions", "body"}; past `limit` requests (0: no limit) the
// rest goes into OUT with .2, .3, ... before its ending. Returns the plan with "files" and
// "requests". One model only (UsageError).
Json write_batch(const ScoreOptions& options, const std::filesystem::path& out, int64_t limit);

// Stores the replies of the files that the provider gave back (outputs and errors, in any order) in
// the cache. Returns counts: stored, known (there already), unreadable, failed, unknown (no request
// of these options), pending (still without a verdict), and "problems", the first 50 of failed and
// unknown. DataError names file and line.
Json read_batch(const ScoreOptions& options, const std::vector<std::filesystem::path>& files);

}  // namespace mose::eval
