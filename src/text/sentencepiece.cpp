#include <sentencepiece_processor.h>

#include <algorithm>
#include <tuple>
#include <unordered_set>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "text/formats.h"
#include "text/recipes.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

// Fields of one protocol-buffer message, for the settings that the library's interface leaves out.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  // The last varint field of that number, or `fallback`.
  int64_t number(uint64_t field, int64_t fallback) const {
    each([&](uint64_t id, std::string_view, uint64_t value, bool varint) {
      if (id == field && varint) fallback = static_cast<int64_t>(value);
    });
    return fallback;
  }
  std::vector<std::string_view> texts(uint64_t field) const {
    std::vector<std::string_view> found;
    each([&](uint64_t id, std::string_view part, uint64_t, bool varint) {
      if (id == field && !varint) found.push_back(part);
    });
    return found;
  }
  std::string_view text(uint64_t field) const {
    std::string_view found;
    each([&](uint64_t id, std::string_view part, uint64_t, bool varint) {
      if (id == field && !varint) found = part;
    });
    return found;
  }

 private:
  template <class Visit>
  void each(const Visit& visit) const {
    size_t at = 0;
    const auto varint = [&] {
      uint64_t value = 0;
      for (int shift = 0; at < bytes_.size() && shift < 64; shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes_[at++]);
        value |= uint64_t{byte & 0x7Fu} << shift;
        if (byte < 0x80) break;
      }
      return value;
    };
    while (at < bytes_.size()) {
      const uint64_t tag = varint();
      switch (tag & 7) {
        case 0: {
          const uint64_t value = varint();
          visit(tag >> 3, {}, value, true);
          break;
        }
        case 1:
          at += 8;
          break;
        case 5:
          at += 4;
          break;
        case 2: {
          const uint64_t size = varint();
          if (size > bytes_.size() - std::min(at, bytes_.size())) return;
          visit(tag >> 3, bytes_.substr(at, size), 0, false);
          at += size;
          break;
        }
        default:
          return;
      }
    }
  }
  std::string_view bytes_;
};

struct ScoredMerge {
  Merge merge;
  float score;
  size_t left, right;  // lengths in code points
};

size_t code_points(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void check_settings(const std::string& proto, const std::string& where) {
  const Message model(proto);
  constexpr int64_t kBpe = 2;
  const int64_t type = Message(model.text(2)).number(3, 1);
  if (type != kBpe) {
    throw DataError(str(where, ": model type ", type, " is not supported, expected 2 (BPE)"));
  }
  const Message normalizer(model.text(3));
  if (!normalizer.text(2).empty()) {
    throw DataError(str(where, ": normalization rule \"", normalizer.text(1),
                        "\" is not supported, expected \"identity\" as in Llama's models"));
  }
  // Defaults of the format: a space in front, extra spaces removed, spaces escaped.
  if (normalizer.number(3, 1) != 1 || normalizer.number(4, 1) != 0 ||
      normalizer.number(5, 1) != 1) {
    throw DataError(str(where,
                        ": expected add_dummy_prefix and escape_whitespaces on and "
                        "remove_extra_whitespaces off, as in Llama's models"));
  }
}

}  // namespace

TokenizerFile read_sentencepiece(const std::filesystem::path& path) {
  const std::string where = path.string(), proto = read_file(path);
  sentencepiece::SentencePieceProcessor processor;
  const auto status = processor.LoadFromSerializedProto(proto);
  if (!status.ok()) {
    throw DataError(str(where, ": not a SentencePiece model: ", status.ToString()));
  }
  check_settings(proto, where);

  TokenizerFile file;
  file.document = sentencepiece_document(processor.IdToPiece(processor.unk_id()));
  const auto pieces = Message(proto).texts(1);
  if (static_cast<int>(pieces.size()) != processor.GetPieceSize()) {
    throw DataError(where + ": not a SentencePiece model");
  }
  constexpr int64_t kNormal = 1, kUserDefined = 4;
  std::unordered_set<std::string_view> normal;
  bool bytes = false;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    if (valid_utf8_prefix(piece) != piece.size()) {
      throw DataError(str(where, ": piece ", id, " is not valid UTF-8"));
    }
    file.vocabulary.emplace_back(piece, static_cast<uint32_t>(id));
    bytes |= processor.IsByte(id);
    if (processor.IsControl(id) || processor.IsUnknown(id)) {
      file.document["added_tokens"].push_back(added_token(id, piece, true));
    }
    const int64_t type = Message(pieces[static_cast<size_t>(id)]).number(3, kNormal);
    if (type == kNormal) normal.insert(piece);
    if (type == kUserDefined) {
      Json token = added_token(id, piece, false);
      token["normalized"] = false;
      file.document["added_tokens"].push_back(token);
    }
  }
  file.document["model"]["byte_fallback"] = bytes;
  std::vector<ScoredMerge> merges;
  for (const auto& [token, id] : file.vocabulary) {
    if (!normal.contains(token)) continue;
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if ((token[cut] & 0xC0) == 0x80) continue;
      const std::string left = token.substr(0, cut), right = token.substr(cut);
      if (normal.contains(left) && normal.contains(right)) {
        merges.push_back({{left, right},
                          processor.GetScore(static_cast<int>(id)),
                          code_points(left),
                          code_points(right)});
      }
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tuple(a.score, a.left, a.right) > std::tuple(b.score, b.left, b.right);
  });
  for (ScoredMerge& merge : merges) file.merges.push_back(std::move(merge.merge));

  file.config = {{"tokenizer_class", "LlamaTokenizer"}, {"clean_up_tokenization_spaces", false}};
  const auto role = [&](const char* name, int id) {
    if (id >= 0) file.config[name] = processor.IdToPiece(id);
  };
  role("bos_token", processor.bos_id());
  role("eos_token", processor.eos_id());
  role("unk_token", processor.unk_id());
  if (processor.bos_id() >= 0) {
    file.document["post_processor"] =
        begin_with(processor.IdToPiece(processor.bos_id()), processor.bos_id());
  }
  return file;
}

}  // namespace mose::text
