// The words loss: what an image row shows, the decoder's own head should read off it.
//
// A decoder that starts from nothing must find out at once what image rows mean and how to use them.
// This loss teaches the first directly. The row where an object stands is held against the words of the
// object's description, the mean of all rows against the words that describe the scene. Targets are bags
// of words: cross-entropy against the words of a text, as SuperClass (Huang et al., 2024) trains towers,
// a rare word weighing more than one that every text has.
//
//   loss = mean_r - sum_v t_rv log softmax_v(head(row_r)_v + log prior_v)
//
// The prior is the mean target of the training set. With it the head need not learn from the images what
// holds for all of them; without it the rows grow a large common part that hides what tells them apart.
#pragma once

#include <torch/types.h>

#include <vector>

#include "mose/data/batch.h"
#include "mose/data/encode.h"
#include "mose/models/vlm.h"

namespace mose::train {

// float32 [V] each. rarity = log(N / n) for a token in n of N texts (0 in none); prior as above.
struct WordTable {
  torch::Tensor rarity_V, log_prior_V;
};
struct WordTables {
  WordTable objects, scenes;
};
WordTables word_tables(const std::vector<data::Encoded>& samples, int64_t vocabulary, torch::Device device);

// How many image rows and how many images of a batch have words.
struct WordCounts {
  double rows = 0, images = 0;
};
WordCounts word_counts(const data::Batch& batch);

// Sum of both parts, each divided by its number of bags in the whole batch.
torch::Tensor words_loss(const models::VisionLanguageModel& model, const torch::Tensor& rows_BQD,
                         const data::Batch& batch, const WordTables& tables, const WordCounts& whole);

}  // namespace mose::train
