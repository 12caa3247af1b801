// A chat model as annotator of skills, behind any address that speaks OpenAI's chat completion protocol. It takes the place of
// the rules' lexicons: what the structure of an answer says (stages, classes of regions) stays the rules'. Requests, retries and
// the cache are those of the judge (openai.h).
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mose/eval/openai.h"
#include "mose/skills/agreement.h"
#include "mose/skills/annotator.h"

namespace mose::eval {

// What the model is told: configs/annotators/chat.json.
struct LabelPrompt {
  std::string name, system;
  std::string form;  // with {skills} and {sentences} once each
  std::map<std::string, std::string> skills;  // of the taxonomy's skills what each means
  double confidence = 0;  // of its labels, (0, 1]

  // DataError names file and field; every skill of the taxonomy needs its meaning, and no other may have one.
  static LabelPrompt load(const std::filesystem::path& file, const skills::Taxonomy& taxonomy);
};

struct AnswerToLabel {
  std::string text, task, category;  // as skills::label_answer takes them
};

struct ChatLabels {
  skills::LabelledText labelled;  // structure labels, and a label a sentence and skill: rule "chat.MODEL", the prompt's confidence
  std::string problem;            // why the model's labels are missing; "" otherwise
};

// The skills in a reply of lines "NUMBER: skill, skill" or "NUMBER: none", by sentence. Nothing, with the reason in `problem`, when
// a sentence is missing or comes twice, a skill is unknown, or it is of another stage than the sentence.
std::optional<std::vector<std::vector<int64_t>>> read_labels(const std::string& reply, const std::vector<skills::Sentence>& sentences,
                                                             const skills::Taxonomy& taxonomy, std::string& problem);

// One request an answer, many at once; what the cache holds is not asked again. Throws as OpenAiJudge::rate_all.
std::vector<ChatLabels> label_by_chat(const OpenAiOptions& server, const std::string& model, const LabelPrompt& prompt,
                                      const skills::Annotator& rules, std::shared_ptr<VerdictCache> cache,
                                      const std::vector<AnswerToLabel>& answers);

}  // namespace mose::eval
