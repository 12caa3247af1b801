// From logits to tokens.
#pragma once

#include "mose/core/random.h"
#include "mose/infer/generator.h"

namespace mose::infer {

// Of a prompt's answer, by its index.
RandomStream sampling_stream(const SamplingConfig& config, size_t index);

// Logits [N, V] of the model's hidden rows. An answer is text: the token that stands for an image row is never chosen.
torch::Tensor text_logits(const models::VisionLanguageModel& model, const torch::Tensor& hidden_ND);

// One draw from softmax(logits / temperature), cut to the top_k and then to the most probable tokens that hold the mass top_p: the
// first token, by falling logit (the lower id among equals), at which the sum of the masses passes `uniform` (in [0, 1)) of the
// whole. Masses are counted in units of 2^-40 of the most probable token's, so that a GPU, which adds them in another order
// (cuda/sample.cu), chooses the same. -1 where no token has a mass (NaN).
int64_t sample_token(const float* logits, int64_t size, const SamplingConfig& config, double uniform);

// The three steps of choose_tokens: a number of each row's stream (float64, on the host; undefined where the choice is greedy), the choices
// (int64, on the logits' device, where the numbers must be on a GPU), and these on the host. Error where one is -1.
torch::Tensor draw_uniform(const SamplingConfig& config, const std::vector<RandomStream*>& streams);
torch::Tensor choose_on_device(const torch::Tensor& logits_NV, const SamplingConfig& config, const torch::Tensor& uniform_N);
std::vector<int64_t> chosen_tokens(const torch::Tensor& chosen_N);

// The next token of each row: the most probable one, or a draw by a number of its stream. On a GPU the logits stay there.
std::vector<int64_t> choose_tokens(const torch::Tensor& logits_NV, const SamplingConfig& config, const std::vector<RandomStream*>& streams);

}  // namespace mose::infer
