// Byte-pair encoding: a vocabulary, merges in order of rank, and the words already encoded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mose::text {

// A token of a word with the bytes of the word it covers.
struct Piece {
  uint32_t id = 0;
  uint32_t length = 0;
};

struct BpeOptions {
  bool byte_level = false;     // words are raw bytes, tokens are spelled in the byte alphabet
  bool byte_fallback = false;  // characters without a token become <0x00> ... <0xFF>
  bool fuse_unknown = false;
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges give
  std::string unknown;         // token of what has none; "" drops it
  std::string continuing_prefix, end_suffix;
};

using VocabularyEntry = std::pair<std::string, uint32_t>;
using Merge = std::pair<std::string, std::string>;

class Bpe {
 public:
  // DataError naming `where` and the entry when an id is given twice, or a merge's parts or result
  // have no token.
  Bpe(std::vector<VocabularyEntry> vocabulary, const std::vector<Merge>& merges, BpeOptions options,
      const std::string& where);
  ~Bpe();
  Bpe(Bpe&&) noexcept;
  Bpe& operator=(Bpe&&) noexcept;

  // Encodes words one after another; holds what threads may not share, so make one a call.
  class Session {
   public:
    explicit Session(const Bpe& bpe);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    // Appends the word's tokens.
    void encode(std::string_view word, std::vector<Piece>& out);

   private:
    void encode_part(std::string_view part, std::vector<Piece>& out);
    const Bpe& bpe_;
    struct Workspace;
    friend class Bpe;
    std::unique_ptr<Workspace> workspace_;
  };

  int64_t id_of(std::string_view token) const;  // -1 when there is none
  // The token's own spelling, or null for an id without one.
  const std::string* token(int64_t id) const;
  int64_t id_end() const { return static_cast<int64_t>(by_id_.size()); }  // largest id + 1
  const std::vector<VocabularyEntry>& vocabulary() const { return vocabulary_; }

 private:
  struct Rule {
    uint64_t pair;  // left << 32 | right, kNoPair for an empty slot
    uint32_t rank, id;
  };
  struct Pool;

  const Rule* rule(uint32_t left, uint32_t right) const;
  bool begins_only_marked() const;
  void add_rules(const std::vector<Merge>& merges, const std::string& where);
  void spell(std::string_view word, std::vector<Piece>& out) const;
  void merge_short(Session::Workspace& workspace, std::vector<Piece>& word) const;
  void merge_long(Session::Workspace& workspace, std::vector<Piece>& word) const;
  void encode_word(Session::Workspace& workspace, std::string_view word,
                   std::vector<Piece>& out) const;

  BpeOptions options_;
  std::vector<VocabularyEntry> vocabulary_;
  std::unordered_map<std::string_view, uint32_t> ids_;  // keys live in vocabulary_
  std::vector<int32_t> by_id_;                          // id -> place in vocabulary_, or -1
  std::vector<Rule> rules_;                             // open addressing, a power of two
  int rules_shift_ = 0;
  bool cut_at_marks_ = false;                           // see begins_only_marked
  int64_t byte_ids_[256];      // of the byte alphabet's characters
  int64_t fallback_ids_[256];  // of <0x00> ... <0xFF>
  std::unique_ptr<Pool> pool_;
};

}  // namespace mose::text
