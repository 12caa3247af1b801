// Learning byte-pair merges: counts of pairs are kept up to date as words change, and a heap with
// stale entries gives the next pair.
#include <algorithm>
#include <queue>
#include <unordered_map>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/text/tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

struct Word {
  std::vector<uint32_t> symbols;
  int64_t count = 0;
};

using Pair = std::pair<uint32_t, uint32_t>;

uint64_t key(Pair pair) {
  return uint64_t{pair.first} << 32 | pair.second;
}

struct PairPlaces {
  int64_t count = 0;
  std::vector<uint32_t> words;  // may name a word twice, or one that lost the pair
};

struct Entry {
  int64_t count;
  Pair pair;
  bool operator<(const Entry& other) const {  // the largest count first, then the smaller pair
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Trainer {
 public:
  Trainer(const std::vector<std::string>& texts, const std::vector<std::string>& special_tokens);
  // Learns merges until there are `tokens` tokens; returns token strings by id and the merges.
  void run(size_t tokens, std::vector<std::string>& spelled, std::vector<Merge>& merges);

 private:
  void add(Pair pair, int64_t count, uint32_t word);
  void merge(Pair pair, uint32_t id);

  std::vector<Word> words_;
  std::unordered_map<uint64_t, PairPlaces> pairs_;
  std::priority_queue<Entry> heap_;
  std::vector<Pair> touched_;  // pairs that a merge made more frequent
};

Trainer::Trainer(const std::vector<std::string>& texts,
                 const std::vector<std::string>& special_tokens) {
  const Pattern pattern(kGpt2Pattern, "train_byte_bpe");
  AddedTokenFinder special;
  for (const std::string& token : special_tokens) {
    AddedToken added;
    added.content = added.spelling = token;
    special.add(added);
  }
  // Byte ids in the order of their characters, which is GPT-2's order.
  std::vector<std::pair<char32_t, int>> order;
  for (int b = 0; b < 256; ++b) order.emplace_back(byte_to_char(static_cast<unsigned char>(b)), b);
  std::sort(order.begin(), order.end());
  uint32_t ids[256];
  for (size_t i = 0; i < 256; ++i) ids[order[i].second] = static_cast<uint32_t>(i);

  std::unordered_map<std::string, uint32_t> places;
  std::vector<Range> matches;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (valid_utf8_prefix(texts[i]) != texts[i].size()) {
      throw DataError(str("train_byte_bpe: text ", i, " is not valid UTF-8"));
    }
    for (const TextPart& part : special.split(texts[i])) {
      if (part.id >= 0) continue;
      const std::string_view text =
          std::string_view(texts[i]).substr(part.range.first, part.range.second - part.range.first);
      matches.clear();
      pattern.find_all(text, matches);
      for (const auto& [begin, end] : matches) {
        const std::string word(text.substr(begin, end - begin));
        const auto [it, fresh] = places.emplace(word, static_cast<uint32_t>(words_.size()));
        if (fresh) {
          words_.emplace_back();
          for (const char c : word)
            words_.back().symbols.push_back(ids[static_cast<unsigned char>(c)]);
        }
        ++words_[it->second].count;
      }
    }
  }
  for (uint32_t w = 0; w < words_.size(); ++w) {
    const auto& symbols = words_[w].symbols;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      add({symbols[i], symbols[i + 1]}, words_[w].count, w);
    }
  }
  for (const auto& [k, places_of] : pairs_) {
    heap_.push({places_of.count, {static_cast<uint32_t>(k >> 32), static_cast<uint32_t>(k)}});
  }
  touched_.clear();
}

void Trainer::add(Pair pair, int64_t count, uint32_t word) {
  PairPlaces& places = pairs_[key(pair)];
  places.count += count;
  if (places.words.empty() || places.words.back() != word) places.words.push_back(word);
  touched_.push_back(pair);
}

void Trainer::merge(Pair pair, uint32_t id) {
  const std::vector<uint32_t> affected = std::move(pairs_[key(pair)].words);
  for (const uint32_t w : affected) {
    auto& symbols = words_[w].symbols;
    const int64_t count = words_[w].count;
    const auto drop = [&](uint32_t a, uint32_t b) { pairs_[key({a, b})].count -= count; };
    size_t to = 0;
    for (size_t i = 0; i < symbols.size(); ++i, ++to) {
      if (i + 1 >= symbols.size() || symbols[i] != pair.first || symbols[i + 1] != pair.second) {
        symbols[to] = symbols[i];
        continue;
      }
      // symbols[0, to) is already rewritten, symbols[i + 2, ...) is still to come.
      if (to > 0) {
        drop(symbols[to - 1], pair.first);
        add({symbols[to - 1], id}, count, w);
      }
      if (i + 2 < symbols.size()) {
        drop(pair.second, symbols[i + 2]);
        add({id, symbols[i + 2]}, count, w);
      }
      symbols[to] = id;
      ++i;
    }
    symbols.resize(to);
  }
  pairs_.erase(key(pair));
  std::sort(touched_.begin(), touched_.end());
  touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
  for (const Pair& changed : touched_) {
    const auto it = pairs_.find(key(changed));
    if (it != pairs_.end() && it->second.count > 0) heap_.push({it->second.count, changed});
  }
  touched_.clear();
}

void Trainer::run(size_t tokens, std::vector<std::string>& spelled, std::vector<Merge>& merges) {
  while (spelled.size() < tokens && !heap_.empty()) {
    const Entry top = heap_.top();
    heap_.pop();
    const auto it = pairs_.find(key(top.pair));
    if (it == pairs_.end() || it->second.count <= 0) continue;
    if (it->second.count != top.count) {  // stale: back with what it is now
      if (it->second.count < top.count) heap_.push({it->second.count, top.pair});
      continue;
    }
    merges.emplace_back(spelled[top.pair.first], spelled[top.pair.second]);
    const auto id = static_cast<uint32_t>(spelled.size());
    spelled.push_back(merges.back().first + merges.back().second);
    merge(top.pair, id);
  }
}

}  // namespace

Tokenizer train_byte_bpe(const std::vector<std::string>& texts, int64_t vocabulary_size,
                         const std::vector<std::string>& special_tokens) {
  const int64_t fixed_entries = 256 + static_cast<int64_t>(special_tokens.size());
  if (vocabulary_size < fixed_entries) {
    throw UsageError(str("train_byte_bpe: a vocabulary of ", vocabulary_size,
                         " cannot hold 256 bytes and ", special_tokens.size(), " special tokens"));
  }
  TokenizerFile file;
  std::vector<char32_t> alphabet;
  for (int b = 0; b < 256; ++b) alphabet.push_back(byte_to_char(static_cast<unsigned char>(b)));
  std::sort(alphabet.begin(), alphabet.end());
  std::vector<std::string> spelled;
  for (const char32_t c : alphabet) append_utf8(spelled.emplace_back(), c);

  Trainer(texts, special_tokens)
      .run(static_cast<size_t>(vocabulary_size) - special_tokens.size(), spelled, file.merges);
  for (size_t id = 0; id < spelled.size(); ++id) {
    file.vocabulary.emplace_back(spelled[id], static_cast<uint32_t>(id));
  }

  file.document = empty_tokenizer_document();
  size_t id = spelled.size();
  for (const std::string& token : special_tokens) {
    file.document["added_tokens"].push_back({{"id", id++},
                                             {"content", token},
                                             {"single_word", false},
                                             {"lstrip", false},
                                             {"rstrip", false},
                                             {"normalized", false},
                                             {"special", true}});
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  file.document["pre_tokenizer"] = byte_level;
  file.document["post_processor"] = byte_level;
  file.document["decoder"] = byte_level;
  file.config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false}};
  return Tokenizer(std::make_unique<Tokenizer::Impl>(std::move(file), "train_byte_bpe"));
}

}  // namespace mose::text
