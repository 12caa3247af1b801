// An answer for the terminal: its sections, and in colour which expert and skill each token used.
#pragma once

#include <string>

#include "mose/infer/generator.h"
#include "mose/skills/taxonomy.h"
#include "mose/text/tokenizer.h"

namespace mose::infer {

// One block a stage: its header (bold with `colour`) and its text.
std::string answer_by_section(const std::string& answer, const skills::Taxonomy& taxonomy, bool colour);

// Every token in the colour of its top expert in the last sparse layer, then a table: for each sparse
// layer the share of tokens by expert, and for the last one the skills by stage. Without colour,
// tokens are written as text[expert].
std::string routing_view(const Generation& generation, const text::Tokenizer& tokenizer,
                         const skills::Taxonomy& taxonomy, int64_t experts, bool colour);

}  // namespace mose::infer
