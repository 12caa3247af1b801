// Our tokenizer against Hugging Face tokenizers: one thread, the same tokenizer.json, the same texts.
#include <cmath>
#include <memory>

#include "bench/corpus.h"
#include "bench/session.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/text/tokenizer.h"

namespace mose::bench {
namespace {

constexpr int64_t kShardBytes = 1 << 19;

struct Family {
  const char *name, *about;
  const char* texts;  // driving, multilingual
};
constexpr Family kFamilies[] = {
    {"qwen", "Qwen's vocabulary", "driving"},
    {"qwen", "Qwen's vocabulary", "multilingual"},
    {"llama2", "SentencePiece BPE as Llama 2's, 6,000 pieces trained for this", "driving"},
};

using Shard = std::vector<std::string>;

std::vector<Shard> make_shards(const Family& family, const text::Tokenizer& tokenizer, int64_t count) {
  std::vector<Shard> shards;
  for (int64_t i = 0; i < count; ++i) {
    shards.push_back(family.texts == std::string("driving") ? driving_texts(i, kShardBytes)
                                                            : multilingual_texts(tokenizer, i, kShardBytes));
  }
  return shards;
}

void check_ids(Peer& peer, const text::Tokenizer& tokenizer, const Shard& shard) {
  const Json theirs = peer.call("ids", {{"shard", 0}}).at("ids");
  for (size_t i = 0; i < shard.size(); ++i) {
    const auto ours = tokenizer.encode(shard[i]);
    if (theirs.at(i) != Json(ours)) throw Error(str("text ", i, " has other ids: \"", shard[i].substr(0, 80), "\""));
  }
}

void bench_family(Session& session, const Family& family) {
  const ScratchFolder folder;
  const auto peer = session.start_peer("tokenizer", 1);
  const std::string file = peer->call("make", {{"folder", folder.path().string()}, {"family", family.name}}).at("file");
  // Every encoder meets every shard once and in the same order, so all have seen the same words before.
  const auto tokenizer = text::Tokenizer::load(file), twin = text::Tokenizer::load(file);
  const auto shards = make_shards(family, tokenizer, session.options().repetitions + 1);
  double bytes = 0;
  for (const std::string& text : shards[0]) bytes += static_cast<double>(text.size());
  peer->call("load", {{"shards", shards}});
  check_ids(*peer, text::Tokenizer::load(file), shards[0]);

  const auto encode = [&](const text::Tokenizer& by, size_t& next) {
    const Shard& shard = shards.at(next++);
    size_t ids = 0;
    const double seconds = cpu_seconds([&] {
      for (const std::string& text : shard) ids += by.encode(text).size();
    });
    if (ids == 0) throw Error("no ids");
    return seconds;
  };
  size_t next = 0, twin_next = 0, batch_next = 0, fast_next = 0;
  Comparison c;
  c.name = str("tokenizer: ", family.texts, " text");
  c.shape = str(family.about, "; ", shards[0].size(), " texts, ", fixed(bytes / 1e6, 2), " MB");
  c.ours = [&] { return encode(tokenizer, next); };
  c.again = [&] { return encode(twin, twin_next); };
  c.sides = {{"tokenizers encode_batch_fast", [&] { return peer->seconds("encode", {{"shard", fast_next++}, {"fast", true}}); }},
             {"tokenizers encode_batch", [&] { return peer->seconds("encode", {{"shard", batch_next++}, {"fast", false}}); }}};
  c.finish = [&](Row& row) {
    row.more = {{"threads", 1}, {"clock", "CPU"}, {"megabytes_per_second", std::round(1e4 * bytes / row.ours_ms / 1e3) / 1e4},
                {"peer_megabytes_per_second", std::round(1e4 * bytes / row.peer_ms / 1e3) / 1e4}};
  };
  session.compare(c);
}

}  // namespace

void bench_tokenizer(Session& session) {
  for (const Family& family : kFamilies) {
    session.attempt(str("tokenizer: ", family.texts, " text, ", family.name), "tokenizers", [&] { bench_family(session, family); });
  }
}

}  // namespace mose::bench
