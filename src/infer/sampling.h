// From logits to tokens.
#pragma once

#include "mose/core/random.h"
#include "mose/infer/generator.h"

namespace mose::infer {

// Of a prompt's answer, by its index.
RandomStream sampling_stream(const SamplingConfig& config, size_t index);

// Logits [N, V] of the model's hidden rows. An answer is text: the token that stands for an image row is never chosen.
torch::Tensor text_logits(const models::VisionLanguageModel& model, const torch::Tensor& hidden_ND);

// The next token of each row: the most probable one, or a draw from its stream.
std::vector<int64_t> choose_tokens(const torch::Tensor& logits_NV, const SamplingConfig& config, const std::vector<RandomStream*>& streams);

}  // namespace mose::infer
