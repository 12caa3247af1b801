#include "mose/text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/random.h"
#include "samples.h"

namespace mose::text {
namespace {

TEST(Tokenizer, DecodesWhatItEncodes) {
  RandomStream random(2, "round trip");
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random, 60);
    EXPECT_EQ(small_tokenizer().decode(small_tokenizer().encode(text)), text);
  }
}

TEST(Tokenizer, SpansCoverTheTextWithoutGapsAndHoldTheirTokensBytes) {
  RandomStream random(3, "spans");
  for (int i = 0; i < 1000; ++i) {
    std::string text = random_text(random, 40);
    if (i % 3 == 0) text.insert(0, "<image>\n");
    const auto spans = small_tokenizer().encode_spans(text);
    const auto ids = small_tokenizer().encode(text);
    ASSERT_EQ(spans.size(), ids.size());
    int64_t at = 0;
    for (size_t k = 0; k < spans.size(); ++k) {
      EXPECT_EQ(spans[k].id, ids[k]);
      EXPECT_EQ(spans[k].begin, at);
      at = spans[k].end;
      const std::string covered = text.substr(static_cast<size_t>(spans[k].begin),
                                              static_cast<size_t>(spans[k].end - spans[k].begin));
      if (small_tokenizer().is_special(spans[k].id)) {
        EXPECT_EQ(covered, small_tokenizer().id_to_token(spans[k].id));
      } else if (covered.find_first_not_of("abcdefghijklmnopqrstuvwxyz ") == std::string::npos) {
        EXPECT_EQ(small_tokenizer().decode({spans[k].id}), covered);
      }
    }
    EXPECT_EQ(at, static_cast<int64_t>(text.size()));
  }
}

TEST(Tokenizer, StreamNeverSplitsACodePointAndEndsWithTheWholeText) {
  RandomStream random(4, "stream");
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(random, 40);
    StreamDecoder stream(small_tokenizer());
    std::string shown;
    for (const int64_t id : small_tokenizer().encode(text)) {
      shown += stream.push(id);
      EXPECT_EQ(text.compare(0, shown.size(), shown), 0);
      EXPECT_TRUE(shown.size() == text.size() || (text[shown.size()] & 0xC0) != 0x80);
    }
    EXPECT_EQ(shown + stream.finish(), text);
  }
}

TEST(StreamDecoder, FinishesIncompleteBytesWithReplacementCharacters) {
  auto ids = small_tokenizer().encode("\xF0\x9F\x9A\xA6");  // four byte tokens
  ASSERT_EQ(ids.size(), 4u);
  ids.pop_back();
  StreamDecoder stream(small_tokenizer());
  for (const int64_t id : ids) EXPECT_EQ(stream.push(id), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(small_tokenizer().decode(ids), "\xEF\xBF\xBD");
}

TEST(Tokenizer, SavedAndLoadedGivesTheSameIds) {
  const TemporaryFolder folder;
  const auto& dir = folder.path;
  small_tokenizer().save(dir);
  const Tokenizer loaded = Tokenizer::load(dir);
  EXPECT_EQ(loaded.vocabulary_size(), small_tokenizer().vocabulary_size());
  RandomStream random(5, "saved");
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(random, 50) + "<|im_end|>" + random_text(random, 5);
    EXPECT_EQ(loaded.encode(text), small_tokenizer().encode(text));
  }
  const std::string first = read_file(dir / "tokenizer.json");
  loaded.save(dir);
  EXPECT_EQ(read_file(dir / "tokenizer.json"), first);
}

TEST(Tokenizer, SpecialTokensAreOneIdAndAreSkippedInText) {
  const auto ids = small_tokenizer().encode("<|im_start|>user\n<image>go<|im_end|>");
  EXPECT_EQ(ids.front(), small_tokenizer().token_to_id("<|im_start|>"));
  EXPECT_EQ(ids.back(), small_tokenizer().token_to_id("<|im_end|>"));
  EXPECT_TRUE(small_tokenizer().is_special(ids.back()));
  EXPECT_EQ(small_tokenizer().decode(ids), "user\ngo");
  EXPECT_EQ(small_tokenizer().decode(ids, false), "<|im_start|>user\n<image>go<|im_end|>");
}

TEST(Tokenizer, AnAddedSpecialTokenTakesTheNextIdAndIsSaved) {
  const TemporaryFolder folder;
  small_tokenizer().save(folder.path);
  Tokenizer tokenizer = Tokenizer::load(folder.path);
  const int64_t size = tokenizer.vocabulary_size(), known = tokenizer.token_to_id("<image>");
  EXPECT_EQ(tokenizer.add_special_token("<image>"), known);
  EXPECT_EQ(tokenizer.add_special_token("<lidar>"), size);
  EXPECT_EQ(tokenizer.vocabulary_size(), size + 1);
  tokenizer.save(folder.path);
  const Tokenizer loaded = Tokenizer::load(folder.path);
  for (const Tokenizer* t : {static_cast<const Tokenizer*>(&tokenizer), &loaded}) {
    const auto ids = t->encode("go<lidar>go");
    EXPECT_EQ(std::count(ids.begin(), ids.end(), size), 1);
    EXPECT_EQ(t->decode(ids), "gogo");
  }
  EXPECT_EQ(small_tokenizer().encode("go"), tokenizer.encode("go"));
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  EXPECT_THROW(small_tokenizer().encode("ab\xC3"), DataError);
  EXPECT_THROW(small_tokenizer().encode_spans("\xED\xA0\x80"), DataError);
}

// The textbook algorithm: count all pairs anew for every merge.
std::vector<std::string> slow_merges(const std::vector<std::string>& words, size_t count) {
  std::vector<std::vector<std::string>> split;
  for (const std::string& word : words) {
    split.emplace_back();
    for (const char c : word) split.back().push_back(std::string(1, c));
  }
  std::map<std::string, int64_t> id;
  for (char c = '!'; c <= '~'; ++c) id[std::string(1, c)] = c;
  std::vector<std::string> merges;
  while (merges.size() < count) {
    std::map<std::pair<int64_t, int64_t>, std::pair<int64_t, std::pair<std::string, std::string>>>
        pairs;
    for (const auto& word : split) {
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        auto& entry = pairs[{id[word[i]], id[word[i + 1]]}];
        ++entry.first;
        entry.second = {word[i], word[i + 1]};
      }
    }
    const std::pair<int64_t, std::pair<std::string, std::string>>* best = nullptr;
    for (const auto& [key, entry] : pairs) {
      if (best == nullptr || entry.first > best->first) best = &entry;
    }
    if (best == nullptr) break;
    const auto [left, right] = best->second;
    merges.push_back(left + right);
    id[left + right] = 1000 + static_cast<int64_t>(merges.size());
    for (auto& word : split) {
      std::vector<std::string> merged;
      for (size_t i = 0; i < word.size(); ++i) {
        if (i + 1 < word.size() && word[i] == left && word[i + 1] == right) {
          merged.push_back(left + right);
          ++i;
        } else {
          merged.push_back(word[i]);
        }
      }
      word = merged;
    }
  }
  return merges;
}

TEST(TrainByteBpe, LearnsTheMergesOfTheTextbookAlgorithm) {
  RandomStream random(6, "words");
  std::vector<std::string> words;
  for (int i = 0; i < 300; ++i) {
    std::string word;
    for (int64_t k = random.integer(1, 9); k > 0; --k)
      word += static_cast<char>('a' + random.integer(0, 3));
    words.push_back(word);
  }
  const auto expected = slow_merges(words, 120);
  const Tokenizer tokenizer = train_byte_bpe(words, 256 + 120, {});
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(tokenizer.id_to_token(256 + static_cast<int64_t>(i)), expected[i]) << "merge " << i;
  }
}

TEST(TrainByteBpe, LearnsFromThreeMegabytesInSeconds) {
  const auto texts = driving_texts(3000, 170, 7);
  const std::clock_t start = std::clock();  // processor time: the machine may be busy
  const Tokenizer tokenizer = train_byte_bpe(texts, 1500, kSpecialTokens);
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 10);
  EXPECT_EQ(tokenizer.vocabulary_size(), 1500);
}

TEST(TrainByteBpe, RefusesAVocabularySmallerThanTheBytes) {
  EXPECT_THROW(train_byte_bpe({"a"}, 200, {}), UsageError);
}

}  // namespace
}  // namespace mose::text
