#include "text/bpe.h"

#include <algorithm>
#include <cstdio>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/bpe_workspace.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

constexpr uint64_t kNoPair = ~uint64_t{0};
constexpr uint64_t kMix = 0x9E3779B97F4A7C15ull;
constexpr uint32_t kNoRank = ~uint32_t{0};
constexpr size_t kShortWord = 40;  // above this a heap beats scanning
constexpr std::string_view kMark = "\xE2\x96\x81";  // SentencePiece's space

// The next place after `from` where a mark follows anything else, or the end.
size_t next_cut(std::string_view text, size_t from) {
  for (size_t at = text.find(kMark, from + 1); at != std::string_view::npos; at = text.find(kMark, at + 1)) {
    const bool after_mark = at >= kMark.size() && text.substr(at - kMark.size(), kMark.size()) == kMark;
    if (!after_mark) return at;
  }
  return text.size();
}

}  // namespace

Bpe::~Bpe() = default;
Bpe::Bpe(Bpe&&) noexcept = default;
Bpe& Bpe::operator=(Bpe&&) noexcept = default;

Bpe::Bpe(std::vector<VocabularyEntry> vocabulary, const std::vector<Merge>& merges,
         BpeOptions options, const std::string& where)
    : options_(std::move(options)),
      vocabulary_(std::move(vocabulary)),
      pool_(std::make_unique<Pool>()) {
  uint32_t last = 0;
  for (const auto& [token, id] : vocabulary_) last = std::max(last, id);
  constexpr uint32_t kMostIds = 1u << 26;
  if (last >= kMostIds) {
    throw DataError(str(where, ": field \"vocab\": id ", last, " is not below ", kMostIds));
  }
  by_id_.assign(vocabulary_.empty() ? 0 : last + 1, -1);
  ids_.reserve(vocabulary_.size());
  for (size_t i = 0; i < vocabulary_.size(); ++i) {
    const auto& [token, id] = vocabulary_[i];
    if (by_id_[id] >= 0) {
      throw DataError(str(where, ": field \"vocab\": id ", id, " belongs to two tokens, \"",
                          vocabulary_[static_cast<size_t>(by_id_[id])].first, "\" and \"", token,
                          "\""));
    }
    if (!ids_.emplace(token, id).second) {
      throw DataError(str(where, ": field \"vocab\": token \"", token, "\" appears twice"));
    }
    by_id_[id] = static_cast<int32_t>(i);
  }
  if (!options_.unknown.empty() && id_of(options_.unknown) < 0) {
    throw DataError(
        str(where, ": field \"unk_token\": \"", options_.unknown, "\" is not in the vocabulary"));
  }
  for (int b = 0; b < 256; ++b) {
    std::string character;
    append_utf8(character, byte_to_char(static_cast<unsigned char>(b)));
    byte_ids_[b] = id_of(character);
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    fallback_ids_[b] = id_of(name);
  }
  add_rules(merges, where);
  cut_at_marks_ = begins_only_marked();
}

// Whether no token has SentencePiece's mark after anything but marks. No merge then reaches across the place before
// a mark, so that a text may be cut there and be encoded word by word, each word once, although no
// pre-tokenizer cuts it (Llama 2).
bool Bpe::begins_only_marked() const {
  const bool plain = options_.continuing_prefix.empty() && options_.end_suffix.empty() && !options_.byte_level;
  if (!plain || options_.ignore_merges || id_of(kMark) < 0) return false;
  return std::all_of(vocabulary_.begin(), vocabulary_.end(), [](const VocabularyEntry& entry) {
    return entry.first.empty() || next_cut(entry.first, 0) == entry.first.size();
  });
}

void Bpe::add_rules(const std::vector<Merge>& merges, const std::string& where) {
  int bits = 4;
  while ((size_t{1} << bits) < merges.size() * 2 + 2) ++bits;
  rules_.assign(size_t{1} << bits, Rule{kNoPair, kNoRank, 0});
  rules_shift_ = 64 - bits;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto need = [&](const std::string& token) {
      const int64_t id = id_of(token);
      if (id < 0) {
        throw DataError(str(where, ": field \"merges\": item ", rank, ": \"", token,
                            "\" is not in the vocabulary"));
      }
      return static_cast<uint32_t>(id);
    };
    const uint32_t a = need(left), b = need(right);
    const size_t cut =
        right.starts_with(options_.continuing_prefix) ? options_.continuing_prefix.size() : 0;
    const uint32_t id = need(left + right.substr(cut));
    const uint64_t pair = uint64_t{a} << 32 | b;
    size_t slot = pair * kMix >> rules_shift_;
    while (rules_[slot].pair != kNoPair && rules_[slot].pair != pair) {
      slot = (slot + 1) & (rules_.size() - 1);
    }
    rules_[slot] = {pair, static_cast<uint32_t>(rank), id};  // a repeated pair: the last one counts
  }
}

const Bpe::Rule* Bpe::rule(uint32_t left, uint32_t right) const {
  const uint64_t pair = uint64_t{left} << 32 | right;
  size_t slot = pair * kMix >> rules_shift_;
  while (true) {
    const Rule& rule = rules_[slot];
    if (rule.pair == pair) return &rule;
    if (rule.pair == kNoPair) return nullptr;
    slot = (slot + 1) & (rules_.size() - 1);
  }
}

int64_t Bpe::id_of(std::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? -1 : static_cast<int64_t>(it->second);
}

const std::string* Bpe::token(int64_t id) const {
  if (id < 0 || id >= id_end() || by_id_[static_cast<size_t>(id)] < 0) return nullptr;
  return &vocabulary_[static_cast<size_t>(by_id_[static_cast<size_t>(id)])].first;
}

// The word's first tokens: one a byte, or one a character with fallbacks.
void Bpe::spell(std::string_view word, std::vector<Piece>& out) const {
  const int64_t unknown = options_.unknown.empty() ? -1 : id_of(options_.unknown);
  Piece pending;
  bool has_pending = false;
  const auto flush = [&] {
    if (has_pending) out.push_back(pending);
    has_pending = false;
  };
  const auto add_unknown = [&](size_t length) {
    if (unknown < 0) return;
    if (has_pending && options_.fuse_unknown) {
      pending.length += static_cast<uint32_t>(length);
      return;
    }
    flush();
    pending = {static_cast<uint32_t>(unknown), static_cast<uint32_t>(length)};
    has_pending = true;
  };
  const bool plain = options_.continuing_prefix.empty() && options_.end_suffix.empty();
  for (size_t at = 0, length = 1; at < word.size(); at += length) {
    int64_t id = -1;
    std::string changed;
    std::string_view character;
    if (options_.byte_level && plain) {
      id = byte_ids_[static_cast<unsigned char>(word[at])];
      character = word.substr(at, 1);
    } else {
      if (!options_.byte_level) decode_utf8(word, at, length);
      character = word.substr(at, length);
      if (options_.byte_level) {
        changed = bytes_to_chars(character);
        character = changed;
      }
      if (!plain) {
        changed = str(at == 0 ? "" : options_.continuing_prefix, character,
                      at + length == word.size() ? options_.end_suffix : "");
        character = changed;
      }
      id = id_of(character);
    }
    if (id >= 0) {
      flush();
      out.push_back({static_cast<uint32_t>(id), static_cast<uint32_t>(length)});
      continue;
    }
    if (options_.byte_fallback) {
      const bool all = std::all_of(character.begin(), character.end(), [&](char c) {
        return fallback_ids_[static_cast<unsigned char>(c)] >= 0;
      });
      if (all) {
        for (const char c : character) {
          out.push_back({static_cast<uint32_t>(fallback_ids_[static_cast<unsigned char>(c)]), 1});
        }
        continue;
      }
    }
    add_unknown(length);
  }
  flush();
}

// Repeatedly joins the leftmost pair of lowest rank, scanning: best for the usual short word.
void Bpe::merge_short(Session::Workspace& workspace, std::vector<Piece>& word) const {
  auto& ranks = workspace.ranks;
  size_t count = word.size();
  const auto find = [&](size_t i) -> std::pair<uint32_t, uint32_t> {
    if (i + 1 >= count) return {kNoRank, 0};
    const Rule* r = rule(word[i].id, word[i + 1].id);
    return r == nullptr ? std::pair<uint32_t, uint32_t>{kNoRank, 0} : std::pair{r->rank, r->id};
  };
  ranks.resize(count);
  for (size_t i = 0; i < count; ++i) ranks[i] = find(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i].first < ranks[best].first) best = i;
    }
    if (ranks[best].first == kNoRank) break;
    word[best] = {ranks[best].second, word[best].length + word[best + 1].length};
    for (size_t i = best + 1; i + 1 < count; ++i) {
      word[i] = word[i + 1];
      ranks[i] = ranks[i + 1];
    }
    --count;
    ranks[best] = find(best);
    if (best > 0) ranks[best - 1] = find(best - 1);
  }
  word.resize(count);
}

// The same with a heap over a linked list: n log n for a word of n characters.
void Bpe::merge_long(Session::Workspace& workspace, std::vector<Piece>& word) const {
  auto& heap = workspace.heap;
  auto& previous = workspace.previous;
  auto& next = workspace.next;
  const auto count = static_cast<int32_t>(word.size());
  heap.clear();
  previous.resize(word.size());
  next.resize(word.size());
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto consider = [&](int32_t at) {
    if (at < 0 || next[static_cast<size_t>(at)] >= count) return;
    const auto i = static_cast<size_t>(at), j = static_cast<size_t>(next[i]);
    if (const Rule* r = rule(word[i].id, word[j].id)) {
      heap.push_back({r->rank, at, word[i].id, word[j].id, r->id});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (int32_t i = 0; i < count; ++i) {
    previous[static_cast<size_t>(i)] = i - 1;
    next[static_cast<size_t>(i)] = i + 1;
  }
  for (int32_t i = 0; i < count; ++i) consider(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate top = heap.back();
    heap.pop_back();
    const auto i = static_cast<size_t>(top.at);
    if (word[i].length == 0 || word[i].id != top.left || next[i] >= count) continue;
    const auto j = static_cast<size_t>(next[i]);
    if (word[j].id != top.right) continue;
    word[i] = {top.id, word[i].length + word[j].length};
    word[j].length = 0;
    next[i] = next[j];
    if (next[i] < count) previous[static_cast<size_t>(next[i])] = top.at;
    consider(previous[i]);
    consider(top.at);
  }
  std::erase_if(word, [](const Piece& piece) { return piece.length == 0; });
}

void Bpe::encode_word(Session::Workspace& workspace, std::string_view word,
                      std::vector<Piece>& out) const {
  if (options_.ignore_merges) {
    const int64_t id = options_.byte_level ? id_of(bytes_to_chars(word)) : id_of(word);
    if (id >= 0) {
      out.push_back({static_cast<uint32_t>(id), static_cast<uint32_t>(word.size())});
      return;
    }
  }
  auto& pieces = workspace.pieces;
  pieces.clear();
  spell(word, pieces);
  if (pieces.size() <= kShortWord) {
    merge_short(workspace, pieces);
  } else {
    merge_long(workspace, pieces);
  }
  out.insert(out.end(), pieces.begin(), pieces.end());
}

Bpe::Session::Session(const Bpe& bpe) : bpe_(bpe), workspace_(bpe.pool_->borrow()) {}
Bpe::Session::~Session() {
  bpe_.pool_->give_back(std::move(workspace_));
}

void Bpe::Session::encode(std::string_view word, std::vector<Piece>& out) {
  if (!bpe_.cut_at_marks_) return encode_part(word, out);
  for (size_t at = 0; at < word.size();) {
    const size_t end = next_cut(word, at);
    encode_part(word.substr(at, end - at), out);
    at = end;
  }
}

void Bpe::Session::encode_part(std::string_view word, std::vector<Piece>& out) {
  if (word.empty()) return;
  if (word.size() > WordCache::kLongestWord) {
    bpe_.encode_word(*workspace_, word, out);
    return;
  }
  WordCache& cache = workspace_->cache;
  const uint64_t hash = WordCache::hash(word);
  if (cache.find(word, hash, out)) return;
  const size_t before = out.size();
  bpe_.encode_word(*workspace_, word, out);
  cache.insert(word, hash, out.data() + before, out.size() - before);
}

}  // namespace mose::text
