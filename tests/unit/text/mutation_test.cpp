// Files with random damage either load, and work, or are refused.
#include <gtest/gtest.h>

#include "mose/core/files.h"
#include "samples.h"
#include "support/damage.h"

namespace mose::text {
namespace {

void use(const std::filesystem::path& file) {
  const Tokenizer tokenizer = Tokenizer::load(file);
  const auto ids = tokenizer.encode("the car 20 m ahead\n<image> \xF0\x9F\x9A\xA6 caf\xC3\xA9", true);
  tokenizer.decode(ids, false);
  StreamDecoder stream(tokenizer);
  for (const int64_t id : ids) stream.push(id);
  stream.finish();
  tokenizer.encode_spans("lane left");
}

// JSON's pieces, and those of a tokenizer's.
std::vector<std::string> pieces() {
  std::vector<std::string> out = json_pieces();
  for (const char* more : {"\"type\": \"Sequence\",", "(?:", "*+", "\"vocab\": {", "\"merges\": ["}) out.emplace_back(more);
  return out;
}

// The file `name` of a folder in all damaged forms.
int64_t survive_file(const std::string& name, int64_t cases, const std::function<std::string(RandomStream&)>& content) {
  const TemporaryFolder folder;
  return survive(name, cases, [&](RandomStream& random) {
    write_quickly(folder.path / name, content(random));
    use(folder.path / name);
  });
}

TEST(Mutation, TokenizerJsonIsRefusedOrWorks) {
  const TemporaryFolder folder;
  train_byte_bpe(driving_texts(20, 30), 300, {"<image>"}).save(folder.path);
  const std::string good = read_file(folder.path / "tokenizer.json");
  const auto all = pieces();
  EXPECT_GT(survive_file("tokenizer.json", 1500, [&](RandomStream& random) { return damaged_bytes(good, random, all); }), 50);
  // Of a document whose vocabulary is small, most damage hits the settings.
  const Json document = Json::parse(good);
  const int64_t loaded = survive_file("tokenizer.json", 1500, [&](RandomStream& random) {
    return damaged_json(document, random).dump(-1, ' ', false, Json::error_handler_t::replace);
  });
  EXPECT_GT(loaded, 50);
  EXPECT_LT(loaded, 1000);
}

TEST(Mutation, VocabularyMergesAndSettingsAreRefusedOrWork) {
  const TemporaryFolder folder;
  train_byte_bpe(driving_texts(20, 30), 300, {"<image>"}).save(folder.path);
  const Json model = load_json(folder.path / "tokenizer.json")["model"];
  std::filesystem::remove(folder.path / "tokenizer.json");
  std::string merges = "#version: 0.2\n";
  for (const Json& pair : model["merges"]) {
    merges += pair.is_array() ? pair[0].get<std::string>() + " " + pair[1].get<std::string>() + "\n" : pair.get<std::string>() + "\n";
  }
  const Json settings{{"tokenizer_class", "GPT2Tokenizer"}, {"bos_token", "<image>"}, {"eos_token", {{"content", "<image>"}}},
                      {"added_tokens_decoder", {{"299", {{"content", "<image>"}, {"special", true}}}}}, {"add_prefix_space", false}};
  const std::vector<std::pair<std::string, std::string>> files = {
      {"vocab.json", model["vocab"].dump()}, {"merges.txt", merges}, {"tokenizer_config.json", settings.dump()}};
  for (const auto& [name, content] : files) write_quickly(folder.path / name, content);
  use(folder.path);
  const auto all = pieces();
  for (const auto& [name, content] : files) {
    survive(name, 500, [&](RandomStream& random) {
      write_quickly(folder.path / name, damaged_bytes(content, random, all));
      use(folder.path);
    });
    write_quickly(folder.path / name, content);
  }
  survive("settings", 500, [&](RandomStream& random) {
    write_quickly(folder.path / "tokenizer_config.json", damaged_json(settings, random).dump());
    use(folder.path);
  });
}

TEST(Mutation, TiktokenFilesAreRefusedOrWork) {
  std::string lines;
  for (int i = 0; i < 64; ++i) {
    const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    lines += std::string("c") + digits[i] + "== " + std::to_string(i) + "\n";
  }
  const auto all = pieces();
  survive_file("qwen.tiktoken", 1000, [&](RandomStream& random) { return damaged_bytes(lines, random, all); });
}

TEST(Mutation, SentencePieceModelsAreRefusedOrWork) {
  const std::string good = sentencepiece_model(kLlamaSettings);
  const std::vector<std::string> wire = {"\x0a", "\xff\xff\xff\xff\x0f", "\x0a\xff\xff\xff\x7f", std::string(1, '\0'), "\x18\x06", "\x12"};
  survive_file("tokenizer.model", 1000, [&](RandomStream& random) { return damaged_bytes(good, random, wire); });
}

}  // namespace
}  // namespace mose::text
