// An answer cut wherever a label begins or ends, so that overlapping spans can be drawn.
#pragma once

#include <string>
#include <vector>

#include "mose/skills/dataset.h"

namespace mose::skills {

struct Piece {
  std::string text;
  int64_t stage = -1;         // of the most certain label, or -1
  std::vector<size_t> labels;  // indices of the labels over it
};

std::vector<Piece> cut_into_pieces(const Sample& sample);

}  // namespace mose::skills
