// What one caller of Bpe holds while it encodes: scratch arrays and the words seen so far.
#pragma once

#include <cstring>
#include <mutex>

#include "text/bpe.h"

namespace mose::text {

// Remembers the tokens of words; emptied when it is full. Open addressing over two arenas.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 64;

  static uint64_t hash(std::string_view word) {
    constexpr uint64_t kMix = 0x9E3779B97F4A7C15ull;
    uint64_t h = word.size() * kMix;
    size_t at = 0;
    for (; at + 8 <= word.size(); at += 8) {
      uint64_t part;
      std::memcpy(&part, word.data() + at, 8);
      h = (h ^ part) * kMix;
      h ^= h >> 32;
    }
    uint64_t part = 0;
    std::memcpy(&part, word.data() + at, word.size() - at);
    h = (h ^ part) * kMix;
    return h ^ h >> 32;
  }

  bool find(std::string_view word, uint64_t hash, std::vector<Piece>& out) const {
    for (size_t slot = hash & (slots_.size() - 1); slots_[slot].count != 0;
         slot = (slot + 1) & (slots_.size() - 1)) {
      const Slot& s = slots_[slot];
      if (s.hash == hash && s.size == word.size() &&
          std::memcmp(words_.data() + s.word, word.data(), word.size()) == 0) {
        if (s.count == kAlone) {
          out.push_back({s.first, s.size});
        } else {
          const Piece* first = pieces_.data() + s.first;
          out.insert(out.end(), first, first + (s.count - 1));
        }
        return true;
      }
    }
    return false;
  }

  void insert(std::string_view word, uint64_t hash, const Piece* pieces, size_t count) {
    if (++used_ * 2 > slots_.size()) make_room();
    const bool alone = count == 1 && pieces->length == word.size();
    place({hash, static_cast<uint32_t>(words_.size()), alone ? pieces->id : static_cast<uint32_t>(pieces_.size()),
           static_cast<uint32_t>(word.size()), alone ? kAlone : static_cast<uint32_t>(count + 1)});
    words_.append(word);
    if (!alone) pieces_.insert(pieces_.end(), pieces, pieces + count);
  }

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t word = 0;   // place in its arena
    uint32_t first = 0;  // place of the tokens in theirs; kAlone: the one token's id
    uint32_t size = 0;
    uint32_t count = 0;  // tokens + 1, or kAlone; 0 marks an empty slot
  };
  static constexpr uint32_t kAlone = ~uint32_t{0};
  static constexpr size_t kFirstSlots = size_t{1} << 10, kMostSlots = size_t{1} << 17;

  void place(const Slot& slot) {
    size_t at = slot.hash & (slots_.size() - 1);
    while (slots_[at].count != 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }

  void make_room() {
    std::vector<Slot> old(slots_.size() < kMostSlots ? slots_.size() * 2 : kMostSlots);
    old.swap(slots_);
    if (old.size() == kMostSlots) {
      words_.clear();
      pieces_.clear();
      used_ = 1;
      return;
    }
    for (const Slot& slot : old) {
      if (slot.count != 0) place(slot);
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(kFirstSlots);
  std::string words_;
  std::vector<Piece> pieces_;
  size_t used_ = 0;
};

// A possible merge of the token at `at` with the one after it.
struct Candidate {
  uint32_t rank;
  int32_t at;
  uint32_t left, right, id;
};

struct Bpe::Session::Workspace {
  WordCache cache;
  std::vector<Piece> pieces;
  std::vector<std::pair<uint32_t, uint32_t>> ranks;  // (rank, merged id) of the pair at i
  std::vector<Candidate> heap;
  std::vector<int32_t> previous, next;
};

// Workspaces between calls, so that threads share no cache and no cache is lost.
struct Bpe::Pool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Session::Workspace>> idle;

  std::unique_ptr<Session::Workspace> borrow() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return std::make_unique<Session::Workspace>();
    auto workspace = std::move(idle.back());
    idle.pop_back();
    return workspace;
  }
  void give_back(std::unique_ptr<Session::Workspace> workspace) {
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(workspace));
  }
};

}  // namespace mose::text
