#include "text/formats.h"

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "text/json_fields.h"
#include "text/pre_tokenizer.h"
#include "text/recipes.h"

namespace mose::text {

namespace {

namespace fs = std::filesystem;

Json config_of(const fs::path& dir) {
  const auto path = dir / "tokenizer_config.json";
  return fs::exists(path) ? load_json(path) : Json();
}

// The text of a role in tokenizer_config.json: a string, or an object with "content".
std::string role_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value.at("content").is_string()) {
    return value.at("content").get<std::string>();
  }
  return "";
}

std::vector<std::string> special_texts(const Json& config) {
  std::vector<std::string> texts;
  if (!config.is_object()) return texts;
  for (const char* role : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (config.contains(role)) texts.push_back(role_text(config.at(role)));
  }
  const auto more = config.find("additional_special_tokens");
  if (more != config.end() && more->is_array()) {
    for (const Json& item : *more) texts.push_back(role_text(item));
  }
  return texts;
}

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

void add_tokens_of_directory(const fs::path& dir, TokenizerFile& file) {
  const Json& config = file.config;
  Json& added = file.document["added_tokens"];
  if (config.is_object() && config.contains("added_tokens_decoder")) {
    const std::string where = (dir / "tokenizer_config.json").string();
    for (const auto& [id, token] : json_object(config, "added_tokens_decoder", where).items()) {
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos) {
        throw DataError(str(where, ": added_tokens_decoder: \"", id, "\" is not an id"));
      }
      const std::string at = str(where, ": added_tokens_decoder: ", id);
      const bool special = json_flag(token, "special", false, at);
      Json entry = added_token(std::stoll(id), json_utf8(token, "content", at), special);
      for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
        entry[flag] = json_flag(token, flag, entry[flag].get<bool>(), at);
      }
      added.push_back(entry);
    }
    return;
  }
  const auto special = special_texts(config);
  std::vector<std::string> listed;
  if (const auto path = dir / "added_tokens.json"; fs::exists(path)) {
    const Json tokens = load_json(path);
    if (!tokens.is_object()) throw DataError(path.string() + ": expected an object of token: id");
    for (const auto& [token, id] : tokens.items()) {
      listed.push_back(token);
      added.push_back(
          added_token(json_int(tokens, token, path.string()), token, contains(special, token)));
    }
  }
  for (const auto& [token, id] : file.vocabulary) {
    if ((contains(special, token) || token == "<|endoftext|>") && !contains(listed, token)) {
      added.push_back(added_token(id, token, true));
    }
  }
}

std::vector<Merge> read_merges(const fs::path& path) {
  std::vector<Merge> merges;
  for_each_line(path, [&](const std::string& raw, int64_t number) {
    const std::string line = raw.ends_with('\r') ? raw.substr(0, raw.size() - 1) : raw;
    if (line.starts_with("#version") || line.empty()) return;
    const size_t space = line.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string::npos) {
      throw DataError(str(path.string(), ": line ", number,
                          ": expected two tokens and a space, found \"", line, "\""));
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  });
  return merges;
}

}  // namespace

TokenizerFile read_vocabulary_and_merges(const fs::path& dir) {
  const fs::path path = dir / "vocab.json";
  TokenizerFile file =
      parse_tokenizer_json("{\"model\":{\"vocab\":" + read_file(path) + "}}", path.string());
  file.merges = read_merges(dir / "merges.txt");
  file.config = config_of(dir);
  const Json& config = file.config;
  const bool qwen = config.is_object() && config.contains("tokenizer_class") &&
                    role_text(config.at("tokenizer_class")).starts_with("Qwen");
  file.document = byte_level_document(qwen ? kQwenPattern : "");
  if (qwen) file.document["normalizer"] = {{"type", "NFC"}};
  if (config.is_object() && json_flag(config, "add_prefix_space", false, path.string())) {
    Json& steps = file.document["pre_tokenizer"];
    (steps.contains("pretokenizers") ? steps["pretokenizers"][1] : steps)["add_prefix_space"] =
        true;
  }
  add_tokens_of_directory(dir, file);
  return file;
}

FoundTokenizer find_tokenizer(const fs::path& path) {
  if (!fs::is_directory(path)) {
    const bool model = path.extension() == ".model";
    if (path.extension() == ".tiktoken" || (model && looks_like_tiktoken(path))) {
      return {read_tiktoken(path, tiktoken_family(path)), path};
    }
    if (model) return {read_sentencepiece(path), path};
    return {read_tokenizer_file(path), path};
  }
  if (fs::exists(path / "tokenizer.json"))
    return {read_tokenizer_file(path), path / "tokenizer.json"};
  if (fs::exists(path / "vocab.json") && fs::exists(path / "merges.txt")) {
    return {read_vocabulary_and_merges(path), path / "vocab.json"};
  }
  std::vector<fs::path> candidates;
  if (fs::exists(path / "tokenizer.model")) candidates.push_back(path / "tokenizer.model");
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".tiktoken") candidates.push_back(entry.path());
  }
  if (candidates.empty()) {
    throw DataError(str(path.string(),
                        ": no tokenizer: expected tokenizer.json, vocab.json with "
                        "merges.txt, tokenizer.model or a .tiktoken file"));
  }
  std::sort(candidates.begin() + (candidates[0].filename() == "tokenizer.model" ? 1 : 0),
            candidates.end());
  FoundTokenizer found = find_tokenizer(candidates.front());
  if (Json config = config_of(path); config.is_object()) found.file.config = std::move(config);
  return found;
}

}  // namespace mose::text
