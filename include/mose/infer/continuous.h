// Continuous batching: a fixed number of places, each with the keys and values of one sequence. An answer that ends gives
// its place to the next request at once, so that a batch waits for no longest answer.
//
//   answer_all(model, 32, options, [&] { return queue.next(); }, [&](Answer answer) { ... });
//
// A request whose pictures are those of a sequence that has a place already begins with a copy of that sequence's keys and
// values as far as their prompts agree: several questions about a picture, asked one after another, encode it once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "mose/infer/generator.h"

namespace mose::infer {

struct Request {
  size_t index = 0;  // names its stream of sampling, and its answer
  Prompt prompt;     // pictures are the same where their tensors are
  // Tokens that it writes in place of the model's choices; it ends after them. Empty: what the model chooses.
  std::vector<int64_t> forced;
};

struct Answer {
  size_t index = 0;  // of the request
  Generation generation;
  int64_t prompt_tokens = 0, shared_tokens = 0;  // of the prompt; of these copied
  int64_t image_encodings = 0;                   // pictures through the tower for this answer
};

struct ContinuousReport {
  int64_t answers = 0;
  int64_t image_encodings = 0;
  int64_t forward_passes = 0;  // of the decoder, each for all sequences that then had rows
  int64_t decoder_passes = 0;  // the same counted by sequence: its prompt, then each token after the first
  int64_t rows = 0;            // of all passes
  int64_t shared_tokens = 0;   // rows of prompts that were copied
};

// Answers the requests that `next` gives until it gives none, at most `places` at a time, and hands over each answer as it
// ends. Options are those of generate, but for `cache`; on_token has the request's index. A request's answer does not depend
// on the others, float rounding aside. Error for a prompt without tokens.
ContinuousReport answer_all(models::VisionLanguageModel& model, int64_t places, const GenerateOptions& options,
                            const std::function<std::optional<Request>()>& next, const std::function<void(Answer)>& done);

}  // namespace mose::infer
