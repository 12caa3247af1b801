// Vocabularies in other forms than tokenizer.json.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"
#include "samples.h"

namespace mose::text {
namespace {

TEST(SentencePieceModel, GivesTheIdsAndTextOfTheSentencePieceLibrary) {
  const TemporaryFolder folder;
  const std::string model = sentencepiece_model(kLlamaSettings);
  write_file(folder.path / "tokenizer.model", model);
  const Tokenizer tokenizer = Tokenizer::load(folder.path);
  sentencepiece::SentencePieceProcessor reference;
  ASSERT_TRUE(reference.LoadFromSerializedProto(model).ok());
  RandomStream random(1, "spm");
  auto texts = driving_texts(100, 10, 9);
  for (int i = 0; i < 1000; ++i) texts.push_back(random_text(random, 30));
  for (std::string text : texts) {
    if (text.find('\0') != std::string::npos) continue;  // the library gives it its own meaning
    std::vector<int> expected;
    ASSERT_TRUE(reference.Encode(text, &expected).ok());
    const auto ids = tokenizer.encode(text);
    ASSERT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  EXPECT_EQ(tokenizer.encode("a", true).front(), reference.bos_id());
  EXPECT_EQ(tokenizer.role_id("eos_token"), reference.eos_id());
}

TEST(SentencePieceModel, RefusesWhatBpeCannotRepresent) {
  const TemporaryFolder folder;
  const auto path = folder.path / "tokenizer.model";
  write_file(path, sentencepiece_model("--model_type=unigram --hard_vocab_limit=false"));
  EXPECT_THROW(Tokenizer::load(path), DataError);
  write_file(path, sentencepiece_model("--model_type=bpe"));  // rewrites text by NFKC rules
  EXPECT_THROW(Tokenizer::load(path), DataError);
  write_file(path, "not a model");
  EXPECT_THROW(Tokenizer::load(path), DataError);
}

std::string base64(const std::string& bytes) {
  static const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * k) & 63];
    }
  }
  return out;
}

TEST(Tiktoken, MergesByTheRankOfTheWholeToken) {
  std::string lines;
  int rank = 0;
  for (int b = 0; b < 256; ++b)
    lines += base64(std::string(1, static_cast<char>(b))) + str(" ", rank++, "\n");
  for (const char* token : {"ab", "bc", "abc", "abcd", " ab"})
    lines += base64(token) + str(" ", rank++, "\n");
  const TemporaryFolder folder;
  write_file(folder.path / "qwen.tiktoken", lines);
  const Tokenizer tokenizer = Tokenizer::load(folder.path);
  EXPECT_EQ(tokenizer.encode("abcd"), (std::vector<int64_t>{259}));
  EXPECT_EQ(tokenizer.encode("abce"), (std::vector<int64_t>{258, 'e'}));
  EXPECT_EQ(tokenizer.encode("bcab ab"), (std::vector<int64_t>{257, 256, 260}));
  EXPECT_EQ(tokenizer.token_to_id("<|endoftext|>"), 261);
  EXPECT_EQ(tokenizer.token_to_id("<|im_end|>"), 263);
  write_file(folder.path / "llama3.tiktoken", lines);
  const Tokenizer llama = Tokenizer::load(folder.path / "llama3.tiktoken");
  EXPECT_EQ(llama.encode("a", true), (std::vector<int64_t>{261, 'a'}));
  EXPECT_EQ(llama.vocabulary_size(), 261 + 256);
}

TEST(Tiktoken, ErrorsNameTheLineAndTheMissingFamily) {
  const TemporaryFolder folder;
  const auto expect = [&](const char* name, const std::string& text, const std::string& part) {
    write_file(folder.path / name, text);
    try {
      Tokenizer::load(folder.path / name);
      ADD_FAILURE() << "accepted " << text;
    } catch (const DataError& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  expect("qwen.tiktoken", "YQ== 0\nYg=\n", "line 2");
  expect("qwen.tiktoken", "YQ== 0\nYQ== 1\n", "appears twice");
  expect("other.tiktoken", "YQ== 0\n", "family");
}

TEST(VocabularyAndMerges, EqualTheSameTokenizerAsOneFile) {
  const TemporaryFolder folder;
  small_tokenizer().save(folder.path);
  const Json saved = parse_json(read_file(folder.path / "tokenizer.json"), "saved");
  std::string merges = "#version: 0.2\n";
  for (const Json& pair : saved["model"]["merges"]) {
    merges += pair[0].get<std::string>() + " " + pair[1].get<std::string>() + "\n";
  }
  Json added = Json::object();
  for (const Json& token : saved["added_tokens"])
    added[token["content"].get<std::string>()] = token["id"];
  std::filesystem::remove(folder.path / "tokenizer.json");
  save_json(folder.path / "vocab.json", saved["model"]["vocab"]);
  write_file(folder.path / "merges.txt", merges);
  save_json(folder.path / "added_tokens.json", added);
  save_json(folder.path / "tokenizer_config.json",
            {{"eos_token", {{"content", "<|im_end|>"}}},
             {"additional_special_tokens", {"<unk>", "<|im_start|>", "<image>"}}});
  const Tokenizer tokenizer = Tokenizer::load(folder.path);
  RandomStream random(3, "pair");
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_text(random, 40) + "<|im_end|>" + random_text(random, 9);
    EXPECT_EQ(tokenizer.encode(text), small_tokenizer().encode(text));
  }
  EXPECT_EQ(tokenizer.role_id("eos_token"), small_tokenizer().token_to_id("<|im_end|>"));
  EXPECT_TRUE(tokenizer.is_special(tokenizer.token_to_id("<image>")));

  write_file(folder.path / "merges.txt", "a b c\n");
  EXPECT_THROW(Tokenizer::load(folder.path), DataError);
}

TEST(TokenizerLoad, SaysWhatItLookedForInAnEmptyDirectory) {
  const TemporaryFolder folder;
  try {
    Tokenizer::load(folder.path);
    FAIL();
  } catch (const DataError& e) {
    EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace mose::text
