// From a sample's text to token rows: ids, targets, stages and soft router labels.
//
//   rows     | prompt text | image token x R | prompt text | answer tokens |
//   target     -100 ...                            ... a_0 | a_1 ... a_n-1, end of turn |
//
// Prompt and answer are tokenised apart and joined. So an answer's tokens have exact byte spans in the
// answer, and the prompt's ids are those that generation starts from. A space that the chat template
// puts around the answer belongs to the answer's tokens. The end-of-turn token is a target but not a
// row: nothing is predicted from it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mose/core/config.h"
#include "mose/skills/dataset.h"
#include "mose/skills/taxonomy.h"
#include "mose/text/tokenizer.h"
#include "mose/vision/image_layout.h"

namespace mose::data {

struct EncodeConfig {
  std::string chat_template = "chatml";
  int64_t max_tokens = 1024;
  std::string granularity = "token";
  double prompt_label_weight = 0;

  void visit(FieldVisitor& v);
};

// A distribution over stages or skills with its confidence. The rows of a sample share few of them.
struct SoftLabel {
  std::vector<std::pair<int32_t, float>> classes;  // by index; weights > 0 that sum to 1
  float weight = 0;                                // (0, 1]: the largest confidence among its labels
};

// Labels of one level by row: row t has labels[row[t]], or none where row[t] is -1.
struct RowLabels {
  std::vector<SoftLabel> labels;
  std::vector<int32_t> row;
};

struct Encoded {
  std::string id, image, task;
  vision::ImageLayout layout;     // of the image; R = layout.rows()
  std::vector<int64_t> tokens;    // T ids, the image token repeated
  std::vector<int64_t> targets;   // T: the id that row t must predict, -100 where it is part of the prompt
  std::vector<int64_t> segments;  // T: stage of the target token, -1 outside every segment
  RowLabels stages, skills;       // of each row's own token
  std::vector<skills::RegionTarget> objects;
  std::vector<std::vector<int64_t>> object_words;  // of each object: the tokens of its description, each once
  std::vector<int64_t> scene_words;  // the tokens that describe the whole picture, each once; none for a region's question
  int64_t prompt_length = 0;      // rows before the answer's first token
  int64_t cut_tokens = 0;         // answer tokens left out because of max_tokens

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
};

// The ids that a question becomes: what generation starts from. With `image_rows` 0 the prompt has no image.
// DataError when the tokenizer lacks "<image>" or the question holds it.
std::vector<int64_t> encode_prompt(const std::string& question, const text::Tokenizer& tokenizer,
                                   const EncodeConfig& config, int64_t image_rows);

// The id that ends an answer; DataError when the tokenizer has no such single token.
int64_t end_of_turn_id(const text::Tokenizer& tokenizer, const EncodeConfig& config);

// A token carries every label whose bytes it shares (its leading white space aside). Within a level
// the weight of a class is the largest confidence among its labels, normalised to sum 1; a skill label
// also supplies its stage. Then, by config.granularity:
//   token   that;
//   span    each token of a sentence has the most frequent distribution of the sentence's tokens;
//   sample  each token of the answer has the mean over the answer's labelled tokens.
// With prompt_label_weight w > 0, prompt and image rows have the sample's mean, its weight times w.
// With an empty `sample.image` a sample is text only, and `layout` is not used.
// An answer that does not fit max_tokens is cut at its end, end of turn included, and counted in
// cut_tokens. DataError names the sample when its prompt does not fit, its answer holds the image
// token, or a label or segment lies outside the answer or the taxonomy.
Encoded encode_sample(const skills::Sample& sample, const skills::Taxonomy& taxonomy,
                      const text::Tokenizer& tokenizer, const EncodeConfig& config,
                      const vision::ImageLayout& layout);

}  // namespace mose::data
