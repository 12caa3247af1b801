#include "text/pre_tokenizer.h"

#include <memory>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/json_fields.h"
#include "text/unicode.h"

namespace mose::text {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// What becomes of the text that a Split pattern matches.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior read_behavior(const Json& json, const std::string& where) {
  const std::string name = json_string(json, "behavior", where);
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw DataError(str(where, ": field \"behavior\": \"", name, "\" is not known"));
}

struct Part {
  Range range;
  bool match;
};

// Cuts one word by its matches, as the behaviour says; empty words are dropped.
void apply_behavior(const std::vector<Part>& parts, Behavior behavior, std::vector<Range>& out) {
  const auto emit = [&](Range range) {
    if (range.second > range.first) out.push_back(range);
  };
  switch (behavior) {
    case Behavior::kRemoved:
      for (const Part& part : parts) {
        if (!part.match) emit(part.range);
      }
      break;
    case Behavior::kIsolated:
      for (const Part& part : parts) emit(part.range);
      break;
    case Behavior::kMergedWithPrevious:
      // A match joins the part before it, unless that is a match too.
      for (size_t i = 0; i < parts.size(); ++i) {
        Range range = parts[i].range;
        if (!parts[i].match && i + 1 < parts.size() && parts[i + 1].match) {
          range.second = parts[++i].range.second;
        }
        emit(range);
      }
      break;
    case Behavior::kMergedWithNext:
      for (size_t i = 0; i < parts.size(); ++i) {
        Range range = parts[i].range;
        if (parts[i].match && i + 1 < parts.size() && !parts[i + 1].match) {
          range.second = parts[++i].range.second;
        }
        emit(range);
      }
      break;
    case Behavior::kContiguous:
      for (size_t i = 0; i < parts.size(); ++i) {
        Range range = parts[i].range;
        while (i + 1 < parts.size() && parts[i + 1].match == parts[i].match) {
          range.second = parts[++i].range.second;
        }
        emit(range);
      }
      break;
  }
}

void split_words(Words& words, const Pattern& pattern, Behavior behavior, bool invert) {
  std::vector<Range> out, matches;
  std::vector<Part> parts;
  const std::string_view bytes = words.text.bytes;
  for (const auto& [begin, end] : words.ranges) {
    matches.clear();
    pattern.find_all(bytes.substr(begin, end - begin), matches);
    if (behavior == Behavior::kIsolated) {
      size_t done = begin;
      for (const auto& [first, last] : matches) {
        if (begin + first > done) out.emplace_back(done, begin + first);
        out.emplace_back(begin + first, begin + last);
        done = begin + last;
      }
      if (done < end) out.emplace_back(done, end);
      continue;
    }
    parts.clear();
    size_t done = begin;
    for (const auto& [first, last] : matches) {
      if (begin + first > done) parts.push_back({{done, begin + first}, invert});
      parts.push_back({{begin + first, begin + last}, !invert});
      done = begin + last;
    }
    if (done < end) parts.push_back({{done, end}, invert});
    apply_behavior(parts, behavior, out);
  }
  words.ranges = std::move(out);
}

// Rewrites every word by itself; `rewrite` gets the rewriter and the word's range.
template <class Rewrite>
void rewrite_words(Words& words, const Rewrite& rewrite) {
  Rewriter rewriter(words.text);
  for (Range& range : words.ranges) {
    const size_t begin = rewriter.size();
    rewrite(rewriter, range);
    range = {begin, rewriter.size()};
  }
  words.text = rewriter.finish();
}

PreTokenizer split_step(std::shared_ptr<Pattern> pattern, Behavior behavior, bool invert) {
  return [=](Words& words) { split_words(words, *pattern, behavior, invert); };
}

void add_byte_level(const Json& json, const std::string& where, PreTokenizers& out) {
  if (json_flag(json, "add_prefix_space", true, where)) {
    out.steps.emplace_back([](Words& words) {
      bool needed = false;
      for (const Range& range : words.ranges) needed |= words.text.bytes[range.first] != ' ';
      if (!needed) return;
      rewrite_words(words, [&](Rewriter& rewriter, Range range) {
        if (words.text.bytes[range.first] != ' ') rewriter.put(" ", range.first, range.first);
        rewriter.keep(range.first, range.second);
      });
    });
  }
  if (json_flag(json, "use_regex", true, where)) {
    out.steps.push_back(
        split_step(std::make_shared<Pattern>(kGpt2Pattern, where), Behavior::kIsolated, false));
  }
  out.byte_level = true;
}

void add_metaspace(const Json& json, const std::string& where, PreTokenizers& out) {
  const std::string mark = json.contains("replacement") ? json_utf8(json, "replacement", where)
                                                        : std::string("\xE2\x96\x81");
  // Files before 0.15 say add_prefix_space in place of prepend_scheme.
  std::string scheme = json_flag(json, "add_prefix_space", true, where) ? "always" : "never";
  if (json.contains("prepend_scheme")) scheme = json_string(json, "prepend_scheme", where);
  if (scheme != "always" && scheme != "never" && scheme != "first") {
    throw DataError(str(where,
                        ": field \"prepend_scheme\": expected always, never or first, found \"",
                        scheme, "\""));
  }
  out.steps.emplace_back([mark, scheme](Words& words) {
    rewrite_words(words, [&](Rewriter& rewriter, Range range) {
      const std::string_view word =
          std::string_view(words.text.bytes).substr(range.first, range.second - range.first);
      const bool marked = word.starts_with(mark) || word.starts_with(' ');
      const bool wanted =
          scheme == "always" || (scheme == "first" && words.text.origin(range).first == 0);
      if (wanted && !marked) rewriter.put(mark, range.first, range.first);
      for (size_t at = range.first; at < range.second; ++at) {
        if (words.text.bytes[at] == ' ') {
          rewriter.put(mark, at, at + 1);
        } else {
          rewriter.keep(at, at + 1);
        }
      }
    });
  });
  if (json_flag(json, "split", true, where)) {
    out.steps.push_back(split_step(std::make_shared<Pattern>(Pattern::literal(mark)),
                                   Behavior::kMergedWithNext, false));
  }
}

void read(const Json& json, const std::string& where, PreTokenizers& out) {
  if (json.is_null()) return;
  const std::string type = json_string(json, "type", where);
  if (out.byte_level) {
    throw DataError(str(where, ": \"", type, "\" after \"ByteLevel\" is not supported"));
  }
  const auto regex = [&](const char* expression, Behavior behavior, bool invert) {
    out.steps.push_back(split_step(std::make_shared<Pattern>(expression, where), behavior, invert));
  };
  if (type == "Sequence") {
    for (const Json& item : json_array(json, "pretokenizers", where)) read(item, where, out);
  } else if (type == "ByteLevel") {
    add_byte_level(json, where, out);
  } else if (type == "Split") {
    out.steps.push_back(split_step(std::make_shared<Pattern>(read_pattern(json, where)),
                                   read_behavior(json, where),
                                   json_flag(json, "invert", false, where)));
  } else if (type == "Metaspace") {
    add_metaspace(json, where, out);
  } else if (type == "Digits") {
    const bool alone = json_flag(json, "individual_digits", false, where);
    regex("\\p{N}", alone ? Behavior::kIsolated : Behavior::kContiguous, false);
  } else if (type == "WhitespaceSplit") {
    regex("\\s", Behavior::kRemoved, false);
  } else if (type == "Whitespace") {
    regex("[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}]+|[^\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\s]+",
          Behavior::kRemoved, true);
  } else if (type == "Punctuation") {
    regex("\\p{P}|[$+<=>^`|~]", read_behavior(json, where), false);
  } else {
    throw DataError(str(where, ": \"", type,
                        "\" is not supported; known are ByteLevel, Split, Metaspace, Digits, "
                        "Whitespace, WhitespaceSplit, Punctuation and Sequence"));
  }
}

}  // namespace

PreTokenizers read_pre_tokenizers(const Json& json, const std::string& where) {
  PreTokenizers out;
  read(json, where, out);
  return out;
}

}  // namespace mose::text
