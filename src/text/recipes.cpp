#include "text/recipes.h"

#include "mose/core/strings.h"
#include "text/tokenizer_file.h"

namespace mose::text {

const char* const kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json added_token(int64_t id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", !special}, {"special", special}};
}

Json byte_level_document(const std::string& pattern) {
  Json document = empty_tokenizer_document();
  Json step = {{"type", "ByteLevel"},
               {"add_prefix_space", false},
               {"trim_offsets", true},
               {"use_regex", true}};
  document["decoder"] = step;
  document["post_processor"] = step;
  if (pattern.empty()) {
    document["pre_tokenizer"] = step;
    return document;
  }
  step["use_regex"] = false;
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  document["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, step})}};
  return document;
}

Json begin_with(const std::string& token, int64_t id) {
  const auto piece = [](const char* kind, const std::string& name, int type) {
    Json inner = {{"id", name}, {"type_id", type}};
    return Json{{kind, inner}};
  };
  Json special = Json::object();
  special[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({piece("SpecialToken", token, 0), piece("Sequence", "A", 0)})},
          {"pair", Json::array({piece("SpecialToken", token, 0), piece("Sequence", "A", 0),
                                piece("SpecialToken", token, 1), piece("Sequence", "B", 1)})},
          {"special_tokens", special}};
}

Json sentencepiece_document(const std::string& unknown) {
  const std::string mark = "\xE2\x96\x81";
  Json document = empty_tokenizer_document();
  const auto replace = [](const std::string& from, const std::string& to) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  document["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       Json::array({Json{{"type", "Prepend"}, {"prepend", mark}}, replace(" ", mark)})}};
  document["decoder"] = {
      {"type", "Sequence"},
      {"decoders",
       Json::array({replace(mark, " "), Json{{"type", "ByteFallback"}}, Json{{"type", "Fuse"}},
                    Json{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}})}};
  document["model"]["unk_token"] = unknown;
  document["model"]["fuse_unk"] = true;
  document["model"]["byte_fallback"] = true;
  return document;
}

std::vector<std::string> qwen_special_tokens() {
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  for (int i = 0; i < 205; ++i) tokens.push_back(str("<|extra_", i, "|>"));
  return tokens;
}

std::vector<std::string> llama3_special_tokens() {
  std::vector<std::string> tokens = {"<|begin_of_text|>",
                                     "<|end_of_text|>",
                                     "<|reserved_special_token_0|>",
                                     "<|reserved_special_token_1|>",
                                     "<|finetune_right_pad_id|>",
                                     "<|step_id|>",
                                     "<|start_header_id|>",
                                     "<|end_header_id|>",
                                     "<|eom_id|>",
                                     "<|eot_id|>",
                                     "<|python_tag|>"};
  for (int i = 2; tokens.size() < 256; ++i)
    tokens.push_back(str("<|reserved_special_token_", i, "|>"));
  return tokens;
}

}  // namespace mose::text
