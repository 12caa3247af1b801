// Tokens that are found in the text as they are, before BPE: special tokens and user additions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace mose::text {

struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;   // looked for in the normalized text rather than in the original
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false, rstrip = false;  // also swallows white space on that side
  std::string spelling;  // what it is looked for and decoded as: its content, normalized if it is
};

// A part of a text: a token, or text for BPE (id -1).
struct TextPart {
  Range range;
  int64_t id = -1;
};

// Finds tokens from left to right, the longest at each place.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  std::vector<TextPart> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;
    int32_t token = -1;
  };
  int32_t child(int32_t node, unsigned char byte) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool first_bytes_[256] = {};
};

}  // namespace mose::text
