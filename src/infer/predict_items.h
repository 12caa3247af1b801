// The questions of a dataset, and the rows of its answer files.
#pragma once

#include <string>
#include <vector>

#include "mose/infer/predict.h"

namespace mose::infer {

// One question.
struct Item {
  std::string task, scene, region, question, image, category;
};

std::vector<Item> list_items(const skills::Taxonomy& taxonomy, const PredictOptions& options);

// Writes the three answer files; answers[i] is the text of items[i].
void write_answers(const skills::Taxonomy& taxonomy, const PredictOptions& options, const std::vector<Item>& items,
                   const std::vector<std::string>& answers);

}  // namespace mose::infer
