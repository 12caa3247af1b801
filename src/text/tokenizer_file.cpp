#include "text/tokenizer_file.h"

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

// Builds the document while the vocabulary and the merges, which hold nearly all of the file, go
// straight to their lists. (Objects that keep their order find keys by search: a vocabulary of
// 150,000 entries in one would take minutes.)
class Reader : public nlohmann::json_sax<Json> {
 public:
  Reader(TokenizerFile& file, std::string where) : file_(file), where_(std::move(where)) {}

  bool null() override { return value(Json(nullptr), "null"); }
  bool boolean(bool v) override { return value(Json(v), "a boolean"); }
  bool number_float(double v, const std::string&) override { return value(Json(v), "a number"); }
  bool binary(Json::binary_t&) override { return false; }
  bool number_integer(int64_t v) override {
    if (in_vocabulary_) fail("vocab", str("token \"", key_, "\": id ", v, " is negative"));
    return value(Json(v), "a number");
  }
  bool number_unsigned(uint64_t v) override {
    if (in_vocabulary_) {
      if (v > UINT32_MAX) fail("vocab", str("token \"", key_, "\": id ", v, " is too large"));
      file_.vocabulary.emplace_back(key_, static_cast<uint32_t>(v));
      return true;
    }
    return value(Json(v), "a number");
  }
  bool string(std::string& v) override {
    if (in_merges_ == 1) {
      const size_t space = v.find(' ');
      if (space == std::string::npos || v.find(' ', space + 1) != std::string::npos) {
        fail("merges", str("item ", file_.merges.size(),
                           ": expected two tokens and a space, found \"", v, "\""));
      }
      file_.merges.emplace_back(v.substr(0, space), v.substr(space + 1));
      return true;
    }
    if (in_merges_ == 2) {
      pair_.push_back(v);
      return true;
    }
    return value(Json(v), "a string");
  }
  bool key(std::string& v) override {
    key_ = v;
    return true;
  }
  bool start_object(size_t) override {
    if (in_vocabulary_ || in_merges_ > 0) return value(Json(), "an object");
    if (stack_.size() == 2 && model_depth() && key_ == "vocab") {
      in_vocabulary_ = true;
      return true;
    }
    push(Json::object());
    return true;
  }
  bool end_object() override {
    if (in_vocabulary_) {
      in_vocabulary_ = false;
    } else {
      stack_.pop_back();
    }
    return true;
  }
  bool start_array(size_t) override {
    if (in_merges_ == 1) {
      in_merges_ = 2;
      pair_.clear();
      return true;
    }
    if (in_vocabulary_ || in_merges_ == 2) return value(Json(), "an array");
    if (stack_.size() == 2 && model_depth() && key_ == "merges") {
      in_merges_ = 1;
      return true;
    }
    push(Json::array());
    return true;
  }
  bool end_array() override {
    if (in_merges_ == 2) {
      if (pair_.size() != 2) {
        fail("merges",
             str("item ", file_.merges.size(), ": expected two tokens, found ", pair_.size()));
      }
      file_.merges.emplace_back(pair_[0], pair_[1]);
      in_merges_ = 1;
    } else if (in_merges_ == 1) {
      in_merges_ = 0;
    } else {
      stack_.pop_back();
    }
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    const std::string what = e.what();
    const size_t at = what.find("] ");
    throw DataError(
        str(where_, ": not valid JSON: ", at == std::string::npos ? what : what.substr(at + 2)));
  }

 private:
  static constexpr size_t kDeepest = 64;

  [[noreturn]] void fail(const char* field, const std::string& what) const {
    throw DataError(str(where_, ": field \"model.", field, "\": ", what));
  }
  bool model_depth() const {
    const Json& root = file_.document;
    return root.is_object() && !root.empty() && stack_[0] == &root && model_key_ == "model" &&
           stack_[1] == &root["model"];
  }
  bool value(Json v, const char* found) {
    if (in_vocabulary_) fail("vocab", str("token \"", key_, "\": expected an id, found ", found));
    if (in_merges_ > 0) fail("merges", str("item ", file_.merges.size(), ": found ", found));
    place(std::move(v));
    return true;
  }
  Json* place(Json v) {
    if (stack_.empty()) {
      file_.document = std::move(v);
      return &file_.document;
    }
    Json& top = *stack_.back();
    if (top.is_array()) {
      top.push_back(std::move(v));
      return &top.back();
    }
    return &(top[key_] = std::move(v));
  }
  void push(Json v) {
    if (stack_.size() >= kDeepest) {
      throw DataError(str(where_, ": nested more than ", kDeepest, " levels deep"));
    }
    if (stack_.size() == 1) model_key_ = key_;
    stack_.push_back(place(std::move(v)));
  }

  TokenizerFile& file_;
  std::string where_, key_, model_key_;
  std::vector<Json*> stack_;
  std::vector<std::string> pair_;
  bool in_vocabulary_ = false;
  int in_merges_ = 0;  // 1 in the list, 2 in one of its pairs
};

std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

TokenizerFile parse_tokenizer_json(std::string_view text, const std::string& where) {
  TokenizerFile file;
  Reader reader(file, where);
  Json::sax_parse(text, &reader);
  if (!file.document.is_object()) {
    throw DataError(str(where, ": expected an object, found ", file.document.type_name()));
  }
  for (const auto& [token, id] : file.vocabulary) {
    if (valid_utf8_prefix(token) != token.size()) {
      throw DataError(
          str(where, ": field \"model.vocab\": the token of id ", id, " is not valid UTF-8"));
    }
  }
  return file;
}

TokenizerFile read_tokenizer_file(const std::filesystem::path& path) {
  const bool directory = std::filesystem::is_directory(path);
  const auto json = directory ? path / "tokenizer.json" : path;
  TokenizerFile file = parse_tokenizer_json(read_file(json), json.string());
  const auto config = json.parent_path() / "tokenizer_config.json";
  if (directory && std::filesystem::exists(config)) {
    file.config = load_json(config);
    if (!file.config.is_object()) {
      throw DataError(
          str(config.string(), ": expected an object, found ", file.config.type_name()));
    }
  }
  return file;
}

void write_tokenizer_file(const std::filesystem::path& dir, const TokenizerFile& file) {
  make_directories(dir);
  // One object's members, `lists` after its own; dumped values hold no raw line break, so shifting
  // their lines is safe.
  const auto members = [](const Json& object, const std::string& indent, const auto& member) {
    std::string out = "{";
    for (const auto& [key, value] : object.items()) {
      out += str(out.size() > 1 ? "," : "", "\n", indent, quoted(key), ": ", member(key, value));
    }
    return out;
  };
  const auto dump = [](const Json& value, const std::string& indent) {
    return replace_all(value.dump(2, ' ', false, Json::error_handler_t::replace), "\n",
                       "\n" + indent);
  };
  std::string text = members(file.document, "  ", [&](const std::string& key, const Json& value) {
    if (key != "model") return dump(value, "  ");
    std::string model = members(
        value, "    ", [&](const std::string&, const Json& inner) { return dump(inner, "    "); });
    model += ",\n    \"vocab\": {";
    const char* separator = "";
    for (const auto& [token, id] : file.vocabulary) {
      model += str(separator, "\n      ", quoted(token), ": ", id);
      separator = ",";
    }
    model += "\n    },\n    \"merges\": [";
    separator = "";
    for (const auto& [left, right] : file.merges) {
      model += str(separator, "\n      [", quoted(left), ", ", quoted(right), "]");
      separator = ",";
    }
    return model + "\n    ]\n  }";
  });
  text += "\n}\n";
  write_file(dir / "tokenizer.json", text);
  if (!file.config.is_null()) save_json(dir / "tokenizer_config.json", file.config);
}

Json empty_tokenizer_document() {
  Json model = Json::object();
  model["type"] = "BPE";
  for (const char* key :
       {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    model[key] = nullptr;
  }
  for (const char* key : {"fuse_unk", "byte_fallback", "ignore_merges"}) model[key] = false;
  Json document = Json::object();
  document["version"] = "1.0";
  document["truncation"] = nullptr;
  document["padding"] = nullptr;
  document["added_tokens"] = Json::array();
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    document[key] = nullptr;
  }
  document["model"] = model;
  return document;
}

}  // namespace mose::text
