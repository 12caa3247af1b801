// From a dataset to CODA-LM's three answer files, one single-turn answer an image.
#pragma once

#include <filesystem>
#include <string>

#include "mose/infer/generator.h"
#include "mose/models/bundle.h"

namespace mose::infer {

struct PredictOptions {
  std::filesystem::path root;    // CODA root
  std::string split = "Test";
  std::filesystem::path out;     // folder of the answer files
  int64_t batch = 32;            // prompts generated together
  int64_t limit = 0;             // images; 0 = all
  bool blind = false;            // every image replaced by the mean colour: the control
  SamplingConfig sampling;
};

struct PredictReport {
  int64_t images = 0, regions = 0, tokens = 0, unfinished = 0;
  double seconds = 0;
};

// The scene's one answer is sliced: Description and Reasoning answer general perception, Plan the
// driving suggestion. Each region's answer comes from its own picture with the red rectangle. Writes
// the answer files and predict.json (the report and how it was made).
PredictReport predict(models::Bundle& bundle, const PredictOptions& options);

// The parts of a single-turn answer that a task scores, headers taken off.
struct TaskAnswers {
  std::string general_perception, driving_suggestion;
};
TaskAnswers task_answers(const std::string& answer, const skills::Taxonomy& taxonomy);

}  // namespace mose::infer
