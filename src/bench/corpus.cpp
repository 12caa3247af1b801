#include "bench/corpus.h"

#include <algorithm>
#include <cmath>

#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "scenes/wording.h"

namespace mose::bench {

std::vector<std::string> driving_texts(int64_t shard, int64_t bytes) {
  constexpr uint64_t kSeed = 11;
  std::vector<std::string> texts;
  for (int64_t i = 0; bytes > 0; ++i) {
    const auto scene = scenes::sample_scene(kSeed, str("bench_", shard, "_", i), 1280, 720);
    const std::vector<std::array<double, 4>> boxes(scene.objects.size(), {100, 100, 50, 50});
    const auto words = scenes::word_scene(scene, kSeed, boxes);
    std::string text = words.summary;
    for (const auto& [category, entries] : words.general) {
      for (const auto& entry : entries) text += " " + entry.description + " " + entry.explanation;
    }
    for (const auto& region : words.regions) text += "\n" + region.text;
    text += "\n\n" + words.driving_suggestion;
    bytes -= static_cast<int64_t>(text.size());
    texts.push_back(std::move(text));
  }
  return texts;
}

namespace {

// Entries of the vocabulary that are words: a space, then at least two bytes of text, no special token.
std::vector<std::string> words_of(const text::Tokenizer& tokenizer) {
  std::vector<std::string> words;
  for (int64_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (tokenizer.is_special(id)) continue;
    std::string word = trim(tokenizer.decode({id}));
    const bool whole = word.find("\xEF\xBF\xBD") == std::string::npos;  // no part of a code point
    if (whole && word.size() >= 2 && word.find_first_of(" \n\t\r<>") == std::string::npos) words.push_back(std::move(word));
  }
  return words;
}

}  // namespace

std::vector<std::string> multilingual_texts(const text::Tokenizer& tokenizer, int64_t shard, int64_t bytes) {
  auto words = words_of(tokenizer);
  RandomStream(11, "words").shuffle(words);
  RandomStream random(11, str("texts/", shard));
  // The inverse of the distribution of ranks, log(r) / log(n), which is Zipf's but for small ranks.
  const double last = std::log(static_cast<double>(words.size()));
  const auto word = [&]() -> const std::string& {
    const auto rank = static_cast<size_t>(std::exp(random.uniform() * last));
    return words[std::min(rank, words.size()) - 1];
  };
  std::vector<std::string> texts;
  while (bytes > 0) {
    std::string text;
    const int64_t count = random.integer(20, 200);
    for (int64_t i = 0; i < count; ++i) {
      text += word();
      const double kind = random.uniform();
      if (kind < 0.03) text += " " + std::to_string(random.integer(0, 9999));
      text += kind < 0.86 ? " " : kind < 0.92 ? ", " : kind < 0.98 ? ". " : "\n";
    }
    bytes -= static_cast<int64_t>(text.size());
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace mose::bench
