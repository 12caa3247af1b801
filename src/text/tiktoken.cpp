// .tiktoken files: base64 tokens and ranks. A pair of tokens merges with the rank of its whole.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "text/formats.h"
#include "text/recipes.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

// False when `text` is not base64 with padding.
bool decode_base64(std::string_view text, std::string& out) {
  static const std::string kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  out.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool pad = i >= text.size() - padding;
    const size_t digit = pad ? 0 : kDigits.find(text[i]);
    if (digit == std::string::npos) return false;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 == 3) {
      for (int shift = 16; shift >= 0; shift -= 8) out.push_back(static_cast<char>(bits >> shift));
      bits = 0;
    }
  }
  out.resize(out.size() - padding);
  return true;
}

bool split_line(const std::string& line, std::string& token, uint32_t& rank) {
  const size_t space = line.find(' ');
  if (space == std::string::npos ||
      !decode_base64(std::string_view(line).substr(0, space), token)) {
    return false;
  }
  std::string digits = line.substr(space + 1);
  if (digits.ends_with('\r')) digits.pop_back();
  if (digits.empty() || digits.size() > 9 ||
      digits.find_first_not_of("0123456789") != std::string::npos) {
    return false;
  }
  rank = static_cast<uint32_t>(std::stoul(digits));
  return true;
}

}  // namespace

bool looks_like_tiktoken(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::string token;
  uint32_t rank = 0;
  return split_line(text.substr(0, std::min(text.find('\n'), size_t{1000})), token, rank);
}

std::string tiktoken_family(const std::filesystem::path& path) {
  const std::string name = to_lower(path.filename().string());
  if (name.find("qwen") != std::string::npos) return "qwen";
  // Llama 3 is published as a file of this form named tokenizer.model.
  if (name.find("llama") != std::string::npos || name == "tokenizer.model") return "llama3";
  throw DataError(str(path.string(),
                      ": cannot tell the family of this .tiktoken file, which gives the "
                      "pattern and special tokens: name it qwen.tiktoken or llama3.tiktoken"));
}

TokenizerFile read_tiktoken(const std::filesystem::path& path, const std::string& family) {
  const std::string where = path.string();
  std::vector<std::pair<std::string, uint32_t>> tokens;
  for_each_line(path, [&](const std::string& line, int64_t number) {
    std::string token;
    uint32_t rank = 0;
    if (!split_line(line, token, rank)) {
      throw DataError(str(where, ": line ", number,
                          ": expected a base64 token, a space and a rank, "
                          "found \"",
                          line.substr(0, 60), "\""));
    }
    tokens.emplace_back(token, rank);
  });
  if (tokens.empty()) throw DataError(where + ": no tokens");
  std::sort(tokens.begin(), tokens.end(),
            [](const auto& a, const auto& b) { return a.second < b.second; });
  std::unordered_map<std::string_view, uint32_t> ranks;
  for (const auto& [token, rank] : tokens) {
    if (!ranks.emplace(token, rank).second) {
      throw DataError(str(where, ": the token of rank ", rank, " appears twice"));
    }
  }

  TokenizerFile file;
  const bool qwen = family == "qwen";
  file.document = byte_level_document(qwen ? kQwenPattern : kLlama3Pattern);
  file.document["model"]["ignore_merges"] = true;
  if (qwen) file.document["normalizer"] = {{"type", "NFC"}};
  struct Split {
    uint32_t left, right;
    size_t cut;
  };
  std::vector<Split> splits;
  for (const auto& [token, rank] : tokens) {
    file.vocabulary.emplace_back(bytes_to_chars(token), rank);
    splits.clear();
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(std::string_view(token).substr(0, cut));
      if (left == ranks.end()) continue;
      const auto right = ranks.find(std::string_view(token).substr(cut));
      if (right != ranks.end()) splits.push_back({left->second, right->second, cut});
    }
    std::sort(splits.begin(), splits.end(), [](const Split& a, const Split& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    for (const Split& split : splits) {
      file.merges.emplace_back(bytes_to_chars(std::string_view(token).substr(0, split.cut)),
                               bytes_to_chars(std::string_view(token).substr(split.cut)));
    }
  }
  int64_t id = tokens.back().second + 1;
  const int64_t first = id;
  for (const std::string& token : qwen ? qwen_special_tokens() : llama3_special_tokens()) {
    file.document["added_tokens"].push_back(added_token(id++, token, true));
  }
  if (!qwen) file.document["post_processor"] = begin_with("<|begin_of_text|>", first);
  file.config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"eos_token", qwen ? "<|endoftext|>" : "<|end_of_text|>"}};
  if (!qwen) file.config["bos_token"] = "<|begin_of_text|>";
  return file;
}

}  // namespace mose::text
