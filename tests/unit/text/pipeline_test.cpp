// The parts of tokenizer.json by themselves, on vocabularies small enough to follow by hand.
#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "samples.h"

namespace mose::text {
namespace {

Tokenizer from_json(const Json& document) {
  const TemporaryFolder folder;
  save_json(folder.path / "tokenizer.json", document);
  return Tokenizer::load(folder.path / "tokenizer.json");
}

// Characters without pre-tokenizer: what the normalizer leaves is what is looked up.
Json characters(const std::vector<std::string>& tokens) {
  Json vocabulary = Json::object();
  for (const std::string& token : tokens) vocabulary[token] = vocabulary.size();
  return {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}},
          {"decoder", {{"type", "Fuse"}}}};
}

std::vector<int64_t> ids_of(const std::vector<TokenSpan>& spans) {
  std::vector<int64_t> ids;
  for (const TokenSpan& span : spans) ids.push_back(span.id);
  return ids;
}

TEST(Normalizer, NfcComposesAndSpansStillPointIntoTheOriginal) {
  Json document = characters({"a", "\xC3\xA9", "b"});  // a, é, b
  document["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = from_json(document);
  const auto spans = tokenizer.encode_spans(
      "ae\xCC\x81"
      "b");  // e + combining acute
  ASSERT_EQ(ids_of(spans), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(spans[1].begin, 1);
  EXPECT_EQ(spans[1].end, 4);
  EXPECT_EQ(spans[2].begin, 4);
}

TEST(Normalizer, LeavesCharactersNewerThanTheReferenceTablesAlone) {
  const std::string modifier =
      "\xF0\x90\x9E\xA0";                       // U+107A0 of Unicode 14: compatible with a letter
  const std::string ligature = "\xEF\xAC\x81";  // fi
  Json document = characters({"f", "i", ligature, modifier});
  document["normalizer"] = {{"type", "NFKC"}};
  const Tokenizer tokenizer = from_json(document);
  EXPECT_EQ(tokenizer.encode(ligature + modifier), (std::vector<int64_t>{0, 1, 3}));
}

TEST(Normalizer, PrependedTextCoversNoBytes) {
  Json document = characters({"_", "a", "b"});
  document["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       Json::array({Json{{"type", "Prepend"}, {"prepend", "_"}},
                    Json{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "_"}}})}};
  const auto spans = from_json(document).encode_spans("a b");
  ASSERT_EQ(ids_of(spans), (std::vector<int64_t>{0, 1, 0, 2}));
  EXPECT_EQ(spans[0].begin, spans[0].end);
  EXPECT_EQ(spans[2].begin, 1);
  EXPECT_EQ(spans[2].end, 2);
}

TEST(Merges, TheLowestRankGoesFirstAndTheLeftmostOfEqualOnes) {
  Json document = characters({"a", "b", "c", "bc", "ab", "aa"});
  document["model"]["merges"] = {"b c", "a b", "a a"};  // the older form, in one string
  const Tokenizer tokenizer = from_json(document);
  EXPECT_EQ(tokenizer.encode("abc"), (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(tokenizer.encode("aaa"), (std::vector<int64_t>{5, 0}));
  // Long enough for the heap instead of the scan.
  const auto ids = tokenizer.encode(std::string(201, 'a'));
  std::vector<int64_t> expected(100, 5);
  expected.push_back(0);
  EXPECT_EQ(ids, expected);
}

TEST(Unknown, CharactersFallBackToBytesThenToTheUnknownToken) {
  Json document = characters({"<unk>", "a", "<0xC3>", "<0xA9>"});
  document["model"]["unk_token"] = "<unk>";
  document["model"]["byte_fallback"] = true;
  document["model"]["fuse_unk"] = true;
  document["decoder"] = {{"type", "ByteFallback"}};
  const Tokenizer tokenizer = from_json(document);
  EXPECT_EQ(tokenizer.encode("a\xC3\xA9"), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(tokenizer.encode("xyza"), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(tokenizer.decode({1, 2, 3}), "a\xC3\xA9");
  EXPECT_EQ(tokenizer.decode({1, 2, 1}),
            "a\xEF\xBF\xBD"
            "a");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(1), "a");
  EXPECT_EQ(stream.push(2), "");
  EXPECT_EQ(stream.push(3), "");
  EXPECT_EQ(stream.push(1),
            "\xC3\xA9"
            "a");
}

TEST(AddedTokens, StripAndWholeWordsAreRespected) {
  Json document = characters({"a", "b", " "});
  const auto token = [](int id, const char* content, bool left, bool right, bool word) {
    return Json{{"id", id},        {"content", content},  {"lstrip", left},
                {"rstrip", right}, {"single_word", word}, {"normalized", false},
                {"special", true}};
  };
  document["added_tokens"] =
      Json::array({token(3, "<l>", true, false, false), token(4, "<r>", false, true, false),
                   token(5, "ab", false, false, true)});
  const Tokenizer tokenizer = from_json(document);
  const auto spans = tokenizer.encode_spans("a  <l><r>  b");
  ASSERT_EQ(ids_of(spans), (std::vector<int64_t>{0, 3, 4, 1}));
  EXPECT_EQ(spans[1].begin, 1);
  EXPECT_EQ(spans[2].end, 11);
  EXPECT_EQ(tokenizer.encode("ab aab"), (std::vector<int64_t>{5, 2, 0, 0, 1}));
}

TEST(PostProcessor, PutsItsTokensAroundTheText) {
  Json document = characters({"<s>", "</s>", "a"});
  document["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single",
                                 {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                                  {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                                  {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
                                {"special_tokens",
                                 {{"<s>", {{"id", "<s>"}, {"ids", {0}}, {"tokens", {"<s>"}}}},
                                  {"</s>", {{"id", "</s>"}, {"ids", {1}}, {"tokens", {"</s>"}}}}}}};
  const Tokenizer tokenizer = from_json(document);
  EXPECT_EQ(tokenizer.encode("a", true), (std::vector<int64_t>{0, 2, 1}));
  EXPECT_EQ(tokenizer.encode("a"), (std::vector<int64_t>{2}));
}

TEST(TokenizerJson, ErrorsNameTheFileAndTheKey) {
  const auto expect = [](Json document, const std::string& part) {
    try {
      from_json(document);
      ADD_FAILURE() << "accepted: " << part;
    } catch (const DataError& e) {
      const std::string message = e.what();
      EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  };
  const Json good = characters({"a", "b", "ab"});
  Json bad = good;
  bad["model"]["merges"] = {"a c"};
  expect(bad, "merges\": item 0");
  bad = good;
  bad["model"]["merges"] = {"a"};
  expect(bad, "model.merges");
  bad = good;
  bad["model"]["vocab"]["b"] = 0;
  expect(bad, "two tokens");
  bad = good;
  bad["model"]["vocab"]["b"] = "x";
  expect(bad, "model.vocab");
  bad = good;
  bad["model"]["type"] = "WordPiece";
  expect(bad, "WordPiece");
  bad = good;
  bad["normalizer"] = {{"type", "Precompiled"}};
  expect(bad, "normalizer: \"Precompiled\"");
  bad = good;
  bad["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
  expect(bad, "pre_tokenizer: regular expression");
  bad = good;
  bad["added_tokens"] = Json::array({Json{{"id", 9}, {"content", "a"}}});
  expect(bad, "added_tokens: item 0");
  expect({{"model", {{"type", "BPE"}}}}, "vocab");
}

}  // namespace
}  // namespace mose::text
