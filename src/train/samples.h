// Held-out questions that the model answers at every validation: what a loss does not show.
#pragma once

#include <string>
#include <vector>

#include "mose/infer/generator.h"
#include "mose/train/corpus.h"

namespace mose::train {

struct Session;

struct SampleQuestion {
  std::string id, question, reference;
  infer::Prompt prompt;
};

// The first `count` of a split whose image can be read.
std::vector<SampleQuestion> pick_questions(const skills::Dataset& dataset, const models::Bundle& bundle, const DataConfig& config,
                                           int64_t count);
// Greedy answers, as lines {"step", "stage", "id", "question", "answer", "reference"} of RUN/samples.jsonl; the first one also
// goes to the log. Where experts are divided over processes all of them call it, and rank 0 writes.
void answer_samples(Session& session, const std::string& stage);

}  // namespace mose::train
