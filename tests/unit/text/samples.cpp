#include "samples.h"

#include <sentencepiece_trainer.h>

namespace mose::text {

namespace {

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  size_t at_ = 0;
};

void append_code_point(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
            static_cast<char>(0x80 | (c & 63))};
  } else {
    out += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
            static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
  }
}

}  // namespace

std::string random_text(RandomStream& random, int64_t most_code_points) {
  std::string out;
  const int64_t length = random.integer(0, most_code_points);
  for (int64_t i = 0; i < length; ++i) {
    uint32_t c = 0;
    if (random.chance(0.7)) {
      c = static_cast<uint32_t>(random.integer(0x20, 0x7E));
    } else {
      do {
        c = static_cast<uint32_t>(random.integer(0, 0x10FFFF));
      } while (c >= 0xD800 && c < 0xE000);
    }
    append_code_point(out, c);
  }
  return out;
}

std::vector<std::string> driving_texts(int64_t count, int64_t words, uint64_t seed) {
  static const std::vector<std::string> kWords = {
      "the",     "car",  "ahead", "pedestrian", "is",    "crossing", "slow",    "down",
      "lane",    "left", "right", "traffic",    "cone",  "truck",    "because", "construction",
      "vehicle", "near", "ego",   "should",     "yield", "20",       "m",       "stop"};
  RandomStream random(seed, "texts");
  std::vector<std::string> texts;
  for (int64_t i = 0; i < count; ++i) {
    std::string text;
    for (int64_t w = 0; w < words; ++w) {
      std::string word = random.choice(kWords);
      for (int64_t k = random.chance(0.3) ? 3 : 0; k > 0; --k) {
        word += static_cast<char>('a' + random.integer(0, 25));
      }
      text += (w > 0 ? " " : "") + word + (random.chance(0.1) ? ". " : "");
    }
    texts.push_back(text);
  }
  return texts;
}

const std::vector<std::string> kSpecialTokens = {"<unk>", "<|im_start|>", "<|im_end|>", "<image>"};

const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer = train_byte_bpe(driving_texts(200, 60), 600, kSpecialTokens);
  return tokenizer;
}

std::string sentencepiece_model(const std::string& settings) {
  Sentences sentences(driving_texts(200, 20));
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      "--vocab_size=420 --minloglevel=3 --num_threads=1 " + settings, &sentences, &model);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return model;
}

}  // namespace mose::text
