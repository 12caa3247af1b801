// Files with random damage either load or are refused with an Error; nothing else may happen.
#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "samples.h"

namespace mose::text {
namespace {

// Flips, deletes, repeats, swaps or inserts a few pieces of the file.
std::string damaged(const std::string& good, RandomStream& random) {
  static const std::vector<std::string> kInserts = {"{",
                                                    "}",
                                                    "[",
                                                    "]",
                                                    "\"",
                                                    ",",
                                                    ":",
                                                    "null",
                                                    "-1",
                                                    "1e99",
                                                    "4294967295",
                                                    "99999999999999999999",
                                                    "\\u0000",
                                                    "\xC3",
                                                    "\\ud800",
                                                    "true",
                                                    "\"type\": \"Sequence\",",
                                                    "(?:",
                                                    "*+",
                                                    "\"vocab\": {",
                                                    "\"merges\": ["};
  std::string text = good;
  for (int64_t n = random.integer(1, 4); n > 0 && !text.empty(); --n) {
    // Half of the damage goes to the settings in front of the vocabulary.
    const int64_t end = static_cast<int64_t>(text.size()) - 1;
    const auto at = static_cast<size_t>(
        random.integer(0, random.chance(0.5) ? std::min<int64_t>(end, 1500) : end));
    const auto size = static_cast<size_t>(random.integer(1, 12));
    switch (random.integer(0, 4)) {
      case 0:
        text[at] = static_cast<char>(random.integer(0, 255));
        break;
      case 1:
        text.erase(at, size);
        break;
      case 2:
        text.insert(at, text.substr(at, size));
        break;
      case 3:
        text.insert(at, random.choice(kInserts));
        break;
      default:
        text.resize(random.chance(0.1) ? at : text.size());
        text += "}";
        break;
    }
  }
  return text;
}

int64_t survive(const std::string& name, const std::string& good, int64_t trials) {
  const TemporaryFolder folder;
  RandomStream random(11, name);
  int64_t loaded = 0;
  for (int64_t i = 0; i < trials; ++i) {
    write_file(folder.path / name, damaged(good, random));
    try {
      const Tokenizer tokenizer = Tokenizer::load(folder.path / name);
      ++loaded;
      const auto ids =
          tokenizer.encode("the car 20 m ahead\n<image> \xF0\x9F\x9A\xA6 caf\xC3\xA9", true);
      tokenizer.decode(ids, false);
      StreamDecoder stream(tokenizer);
      for (const int64_t id : ids) stream.push(id);
      stream.finish();
      tokenizer.encode_spans("lane left");
    } catch (const Error&) {
    }
  }
  return loaded;
}

std::string saved_tokenizer() {
  const TemporaryFolder folder;
  train_byte_bpe(driving_texts(20, 30), 300, {"<image>"}).save(folder.path);
  return read_file(folder.path / "tokenizer.json");
}

TEST(Mutation, DamagedTokenizerJsonIsRefusedOrWorks) {
  EXPECT_GT(survive("tokenizer.json", saved_tokenizer(), 1500), 50);
}

TEST(Mutation, DamagedTiktokenFilesAreRefusedOrWork) {
  std::string lines;
  for (int i = 0; i < 64; ++i) {
    const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    lines += std::string("c") + digits[i] + "== " + std::to_string(i) + "\n";
  }
  survive("qwen.tiktoken", lines, 300);
}

}  // namespace
}  // namespace mose::text
