// From a dataset to CODA-LM's three answer files, by one answer an image or one a task.
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
  // "single_turn": one answer an image, sliced into the tasks' parts; "multi_turn": one question and answer a task.
  std::string form = "single_turn";
  bool blind = false;            // control: every image replaced by the mean colour
  bool shuffled = false;         // control: every question is shown the picture of another scene (controls.h)
  int64_t shuffle_seed = 1;
  bool oracle_category = false;  // region questions name the object's true category; to be declared with the scores
  SamplingConfig sampling;
};

struct PredictReport {
  int64_t images = 0, regions = 0;
  int64_t answers = 0, unfinished = 0;  // generated; cut at max_new_tokens
  int64_t image_encodings = 0;          // pictures through the tower: one an answer
  int64_t prompt_tokens = 0;            // image rows included
  int64_t generated_tokens = 0;         // without end tokens
  // Forward passes of one sequence through the decoder: its prompt, then each token after the first, the end token
  // included.
  int64_t decoder_passes = 0;
  double seconds = 0;
};

// In the single-turn form the scene's one answer is sliced: Description and Reasoning answer general perception, Plan the
// driving suggestion. Each region's answer comes from its own picture with the red rectangle. Writes the answer files and
// predict.json (the report and how it was made). UsageError for blind and shuffled together.
PredictReport predict(models::Bundle& bundle, const PredictOptions& options);

// The parts of a single-turn answer that a task scores, headers taken off.
struct TaskAnswers {
  std::string general_perception, driving_suggestion;
};
TaskAnswers task_answers(const std::string& answer, const skills::Taxonomy& taxonomy);

}  // namespace mose::infer
