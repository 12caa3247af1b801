// The data of a run: the skill dataset, the tokenizer, and the samples as tokens and labels.
#pragma once

#include <filesystem>
#include <vector>

#include "mose/data/encode.h"
#include "mose/models/bundle.h"
#include "mose/skills/dataset.h"
#include "mose/train/recipe.h"

namespace mose::train {

struct Corpus {
  skills::Dataset train, validation;
};

// Loads recipe.data.dataset, or prepares recipe.data.root into RUN/data (once). Keeps the samples of
// the recipe's form. DataError when a split has no sample.
Corpus load_corpus(const Recipe& recipe, const std::filesystem::path& run);

// A byte-level BPE tokenizer learnt from the questions and answers of the training split.
text::Tokenizer train_tokenizer(const skills::Dataset& dataset, int64_t vocabulary, const std::string& chat_template);

// The samples as rows. Where these follow from an image's size (pinpoints) its header is read, and a bad one ends or
// skips its sample as config.loader.on_bad_sample says; with config.loader.blind all images have the frame's size.
std::vector<data::Encoded> encode_samples(const skills::Dataset& dataset, const models::Bundle& bundle,
                                          const DataConfig& config, int64_t limit = 0);

// Labelled token mass of every skill, for the "auto" assignment.
std::vector<double> skill_mass(const std::vector<data::Encoded>& samples, const skills::Taxonomy& taxonomy);

}  // namespace mose::train
