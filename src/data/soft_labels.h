// Router labels of an answer's tokens from labelled byte spans.
#pragma once

#include <string>
#include <vector>

#include "mose/data/encode.h"

namespace mose::data {

enum class Level { kStage, kSkill };

// A SoftLabel from weights by class (those <= 0 are left out), normalised.
SoftLabel make_soft_label(const std::vector<double>& weights, double confidence);

// One row a token: the classes of the labels that share bytes with it.
RowLabels label_tokens(const std::vector<text::TokenSpan>& tokens, const skills::Sample& sample,
                       const skills::Taxonomy& taxonomy, Level level);

// The weighted mean of the rows' distributions; weight 0 when no row has one. The mean's weight is
// the mean weight of the labelled rows.
SoftLabel mean_label(const RowLabels& rows, int64_t classes);

// Gives the rows of each sentence of `answer` their most frequent distribution (the first one of
// equals). A sentence ends after . ! ? before white space, and at a line break.
void spread_over_sentences(RowLabels& rows, const std::vector<text::TokenSpan>& tokens,
                           const std::string& answer);

}  // namespace mose::data
