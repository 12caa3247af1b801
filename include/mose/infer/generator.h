// Greedy and sampled generation for a batch of prompts, with a cache of keys and values.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "mose/core/config.h"
#include "mose/models/vlm.h"
#include "mose/vision/anyres.h"

namespace mose::infer {

struct SamplingConfig {
  int64_t max_new_tokens = 320;
  double temperature = 0;  // 0 = greedy
  int64_t top_k = 0;       // 0 = all
  double top_p = 1;
  int64_t seed = 1;

  void visit(FieldVisitor& v);
};

struct Prompt {
  std::vector<int64_t> tokens;            // image rows included
  std::vector<vision::Picture> pictures;  // in the order of their rows
};

// What a sparse layer did with one generated token's row.
struct TokenRouting {
  std::vector<int64_t> top_expert;  // one a sparse layer
  std::vector<int64_t> skill;       // most probable skill, -1 where the router has no skill logits
};

struct Generation {
  std::vector<int64_t> tokens;        // without the end token
  bool finished = false;              // the end token came before max_new_tokens
  std::vector<TokenRouting> routing;  // of tokens[i]'s own row, when asked for; the last token of an
                                      // unfinished answer has none, since its row was never computed
};

struct GenerateOptions {
  SamplingConfig sampling;
  int64_t end_token = -1;
  bool routing = false;
  bool graphs = true;  // on a GPU steps of up to 32 sequences are CUDA graphs, where they can be recorded and no routing is asked for
  bool cache = true;  // false recomputes the whole sequence for every token (a reference for tests)
  // Called with (prompt index, token) as tokens come.
  std::function<void(size_t, int64_t)> on_token;
};

// All prompts side by side (continuous.h asks for more as places get free). Each prompt's result does not depend on its
// neighbours in the batch, float rounding aside; sampling draws from a stream named by the prompt's index.
std::vector<Generation> generate(models::VisionLanguageModel& model, const std::vector<Prompt>& prompts,
                                 const GenerateOptions& options);

}  // namespace mose::infer
