// Tokenizers in Hugging Face's tokenizer.json form (byte-level BPE first), with the same ids and
// text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mose::text {

// A token with the bytes of the input it covers, [begin, end).
struct TokenSpan {
  int64_t id = 0;
  int64_t begin = 0, end = 0;
};

class Tokenizer {
 public:
  // Reads DIR/tokenizer.json (or the file itself) and, when there, DIR/tokenizer_config.json.
  // Without it: vocab.json + merges.txt (GPT-2, CodeGen/Phi, Qwen 2), a SentencePiece BPE
  // tokenizer.model (Llama 2), or a .tiktoken file (Qwen by name; Llama 3's tokenizer.model is one
  // too). Truncation and padding settings in the file are kept but not applied: they are the
  // caller's. DataError names the file and key of what is malformed or not supported.
  static Tokenizer load(const std::filesystem::path& path);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Ids as Hugging Face's encode(text, add_special_tokens) gives them. DataError when the text is
  // not valid UTF-8. Safe to call from several threads.
  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens = false) const;
  // The same ids, each with the input bytes it covers (no post-processor tokens).
  std::vector<TokenSpan> encode_spans(std::string_view text) const;
  // Bytes that are not UTF-8 become U+FFFD; ids without a token are left out, as in Hugging Face.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special_tokens = true) const;

  int64_t vocabulary_size() const;                    // largest id + 1, added tokens included
  int64_t token_to_id(std::string_view token) const;  // -1 when there is none
  std::string id_to_token(int64_t id) const;          // "" when there is none
  bool is_special(int64_t id) const;
  // The id of a role that tokenizer_config.json names ("bos_token", "eos_token", "pad_token",
  // "unk_token"), or -1.
  int64_t role_id(const std::string& role) const;

  // The token's id: its own where there is one, else the next free one, as Hugging Face's
  // add_special_tokens gives it.
  int64_t add_special_token(const std::string& token);

  // Writes DIR/tokenizer.json and DIR/tokenizer_config.json.
  void save(const std::filesystem::path& dir) const;

 private:
  friend class StreamDecoder;
  friend Tokenizer train_byte_bpe(const std::vector<std::string>&, int64_t,
                                  const std::vector<std::string>&);
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Decodes token by token and never splits a code point: returns the text that is now complete.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int64_t id);
  std::string finish();  // what is left, with replacement characters for incomplete bytes

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::string> pending_;  // tokens whose text may still change
  std::string bytes_;                 // of an incomplete code point
  bool started_ = false;
};

// Learns a byte-level BPE vocabulary of `vocabulary_size` entries (256 bytes and special tokens
// included) from texts, with GPT-2's pre-tokenizer. Deterministic: ties go to the smaller pair.
// Bytes have ids 0 to 255 in GPT-2's order, merged tokens follow, special tokens come last. Texts
// with too few different words give fewer entries. UsageError when bytes and special tokens alone
// exceed `vocabulary_size`.
Tokenizer train_byte_bpe(const std::vector<std::string>& texts, int64_t vocabulary_size,
                         const std::vector<std::string>& special_tokens);

}  // namespace mose::text
