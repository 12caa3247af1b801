// From a dataset to CODA-LM's three answer files, by one answer an image or one a task.
//
// Pictures are read and prepared by threads while the model computes; questions about one picture follow each other and share
// its rows (continuous.h). Answers are kept as they come in OUT/predict.partial.jsonl: a call that was stopped goes on from
// there when it is made again, and the file is gone at the end.
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
  int64_t batch = 32;            // answers generated side by side
  int64_t workers = 2;           // threads that read and prepare pictures
  int64_t limit = 0;             // images; 0 = all
  // "single_turn": one answer an image, sliced into the tasks' parts; "multi_turn": one question and answer a task.
  std::string form = "single_turn";
  bool blind = false;            // control: every image replaced by the mean colour
  bool shuffled = false;         // control: every question is shown the picture of another scene (controls.h)
  int64_t shuffle_seed = 1;
  bool oracle_category = false;  // region questions name the object's true category; to be declared with the scores
  bool graphs = true;            // as GenerateOptions has it
  SamplingConfig sampling;
};

struct PredictReport {
  int64_t images = 0, regions = 0;
  int64_t answers = 0, unfinished = 0;  // generated; cut at max_new_tokens
  int64_t resumed = 0;                  // of the answers, those of earlier calls
  int64_t image_encodings = 0;          // pictures through the tower for these answers
  int64_t prompt_tokens = 0;            // image rows included
  int64_t shared_tokens = 0;            // of these, not computed again for another question about the picture
  int64_t generated_tokens = 0;         // without end tokens
  // Forward passes of one sequence through the decoder: its prompt, then each token after the first, the end token
  // included.
  int64_t decoder_passes = 0;
  double seconds = 0;  // earlier calls included
};

// In the single-turn form the scene's one answer is sliced: Description and Reasoning answer general perception, Plan the
// driving suggestion. Each region's answer comes from its own picture with the red rectangle. Writes the answer files and
// predict.json (the report and how it was made). UsageError for blind and shuffled together, and where `out` holds the
// beginning of another prediction (of another model or with other options; `batch`, `workers`, `graphs` and the device may differ).
PredictReport predict(models::Bundle& bundle, const PredictOptions& options);

// The parts of a single-turn answer that a task scores, headers taken off.
struct TaskAnswers {
  std::string general_perception, driving_suggestion;
};
TaskAnswers task_answers(const std::string& answer, const skills::Taxonomy& taxonomy);

}  // namespace mose::infer
