#include "text/tokenizer_impl.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/json_fields.h"

namespace mose::text {

namespace {

BpeOptions read_model(const Json& model, bool byte_level, const std::string& where) {
  if (model.contains("type") && json_string(model, "type", where) != "BPE") {
    throw DataError(str(where, ": field \"type\": expected BPE, found \"",
                        json_string(model, "type", where), "\""));
  }
  if (model.contains("dropout") && !model.at("dropout").is_null() &&
      json_number(model, "dropout", where) != 0) {
    throw DataError(str(where, ": field \"dropout\": only null or 0 is supported, found ",
                        model.at("dropout").dump()));
  }
  const auto text = [&](const char* key) {
    const auto it = model.find(key);
    return it == model.end() || it->is_null() ? std::string() : json_utf8(model, key, where);
  };
  BpeOptions options;
  options.byte_level = byte_level;
  options.unknown = text("unk_token");
  options.continuing_prefix = text("continuing_subword_prefix");
  options.end_suffix = text("end_of_word_suffix");
  options.fuse_unknown = json_flag(model, "fuse_unk", false, where);
  options.byte_fallback = json_flag(model, "byte_fallback", false, where);
  options.ignore_merges = json_flag(model, "ignore_merges", false, where);
  return options;
}

const Json& part(const Json& document, const char* key) {
  static const Json kNull;
  const auto it = document.find(key);
  return it == document.end() ? kNull : *it;
}

}  // namespace

Tokenizer::Impl::Impl(TokenizerFile from, std::string place)
    : file(std::move(from)), where(std::move(place)) {
  const Json& document = file.document;
  const auto at = [&](const char* key) { return where + ": " + key; };
  normalizers = read_normalizers(part(document, "normalizer"), at("normalizer"));
  pre_tokenizers = read_pre_tokenizers(part(document, "pre_tokenizer"), at("pre_tokenizer"));
  decoder = read_decoder(part(document, "decoder"), at("decoder"));
  const Json& model = json_object(document, "model", where);
  if (file.vocabulary.empty())
    throw DataError(at("model") + ": field \"vocab\" is missing or empty");
  bpe.emplace(file.vocabulary, file.merges,
              read_model(model, pre_tokenizers.byte_level, at("model")), at("model"));
  read_added(document);
  read_post_processor(part(document, "post_processor"), at("post_processor"));
}

void Tokenizer::Impl::read_added(const Json& document) {
  const Json& list = part(document, "added_tokens");
  if (list.is_null()) return;
  if (!list.is_array()) {
    throw DataError(
        str(where, ": field \"added_tokens\": expected an array, found ", list.type_name()));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = str(where, ": added_tokens: item ", i);
    const Json& item = list[i];
    AddedToken token;
    token.id = json_int(item, "id", at);
    token.content = json_utf8(item, "content", at);
    token.special = json_flag(item, "special", false, at);
    token.normalized = json_flag(item, "normalized", !token.special, at);
    token.single_word = json_flag(item, "single_word", false, at);
    token.lstrip = json_flag(item, "lstrip", false, at);
    token.rstrip = json_flag(item, "rstrip", false, at);
    constexpr int64_t kMostIds = int64_t{1} << 31;
    if (token.id < 0 || token.id >= kMostIds) {
      throw DataError(str(at, ": field \"id\": ", token.id, " is not an id"));
    }
    const int64_t known = bpe->id_of(token.content);
    if (known >= 0 && known != token.id) {
      throw DataError(str(at, ": \"", token.content, "\" has id ", token.id,
                          " but the vocabulary gives it ", known));
    }
    const std::string* other = bpe->token(token.id);
    if (other != nullptr && *other != token.content) {
      throw DataError(str(at, ": id ", token.id, " of \"", token.content, "\" belongs to \"",
                          *other, "\" in the vocabulary"));
    }
    if (!added_ids.emplace(token.content, token.id).second ||
        !added_by_id.emplace(token.id, added.size()).second) {
      throw DataError(str(at, ": \"", token.content, "\" or its id ", token.id, " appears twice"));
    }
    added.push_back(std::move(token));
  }
  for (AddedToken& token : added) {
    token.spelling = token.content;
    if (token.normalized) {
      TrackedText text;
      text.bytes = token.content;
      for (const Normalizer& normalizer : normalizers) normalizer(text);
      token.spelling = text.bytes;
    }
    (token.normalized ? in_normalized : in_original).add(token);
  }
}

void Tokenizer::Impl::read_post_processor(const Json& json, const std::string& at) {
  if (json.is_null()) return;
  const std::string type = json_string(json, "type", at);
  if (type == "ByteLevel") return;  // changes offsets only
  if (type == "Sequence") {
    for (const Json& item : json_array(json, "processors", at)) read_post_processor(item, at);
    return;
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    const auto id_of_pair = [&](const char* key) {
      const Json& pair = json_array(json, key, at);
      if (pair.size() != 2 || !pair[1].is_number_integer()) {
        throw DataError(str(at, ": field \"", key, "\": expected [token, id]"));
      }
      return pair[1].get<int64_t>();
    };
    before.insert(before.begin(), id_of_pair("cls"));
    after.push_back(id_of_pair("sep"));
    return;
  }
  if (type != "TemplateProcessing") {
    throw DataError(str(at, ": \"", type,
                        "\" is not supported; known are ByteLevel, TemplateProcessing, "
                        "RobertaProcessing, BertProcessing and Sequence"));
  }
  std::vector<int64_t> first, last;
  bool seen = false;
  for (const Json& item : json_array(json, "single", at)) {
    if (item.is_object() && item.contains("Sequence")) {
      if (seen) throw DataError(str(at, ": field \"single\": the sequence appears twice"));
      seen = true;
      continue;
    }
    const std::string name = json_string(json_object(item, "SpecialToken", at), "id", at);
    const Json& special = json_object(json_object(json, "special_tokens", at), name, at);
    for (const Json& id : json_array(special, "ids", at)) {
      if (!id.is_number_integer()) {
        throw DataError(
            str(at, ": special_tokens: \"", name, "\": expected ids, found ", id.type_name()));
      }
      (seen ? last : first).push_back(id.get<int64_t>());
    }
  }
  if (!seen) throw DataError(str(at, ": field \"single\": there is no sequence"));
  before.insert(before.begin(), first.begin(), first.end());
  after.insert(after.end(), last.begin(), last.end());
}

const std::string* Tokenizer::Impl::spelling(int64_t id) const {
  const auto it = added_by_id.find(id);
  return it != added_by_id.end() ? &added[it->second].spelling : bpe->token(id);
}

bool Tokenizer::Impl::special(int64_t id) const {
  const auto it = added_by_id.find(id);
  return it != added_by_id.end() && added[it->second].special;
}

}  // namespace mose::text
