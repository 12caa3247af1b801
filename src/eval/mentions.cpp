#include "mose/eval/mentions.h"

#include <algorithm>

#include "mose/coda/annotation.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/skills/phrases.h"

namespace mose::eval {
namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> out;
  for (const skills::Word& word : skills::words(text)) out.push_back(word.text);
  return out;
}

bool same_or_plural(const std::string& word, const std::string& singular) {
  return word == singular || word == singular + "s" || word == singular + "es";
}

}  // namespace

void MentionLexicon::add(const std::string& phrase, Entry entry, const std::string& where) {
  entry.words = words_of(phrase);
  if (entry.words.empty()) throw DataError(str(where, ": \"", phrase, "\": expected words"));
  // A phrase of one word may be met in its plural, which begins with another word.
  std::vector<std::string> keys = {entry.words[0]};
  if (entry.words.size() == 1) {
    keys.insert(keys.end(), {entry.words[0] + "s", entry.words[0] + "es"});
  }
  for (const Entry& other : by_first_word_[keys[0]]) {
    if (other.words == entry.words) {
      throw DataError(str(where, ": \"", phrase, "\" is listed twice"));
    }
  }
  for (const std::string& key : keys) {
    auto& list = by_first_word_[key];
    list.push_back(entry);
    std::stable_sort(list.begin(), list.end(), [](const Entry& a, const Entry& b) {
      return a.words.size() > b.words.size();
    });
  }
}

MentionLexicon MentionLexicon::load(const std::filesystem::path& file) {
  const Json json = load_json(file);
  MentionLexicon lexicon;
  const auto read = [&](const Json& list, const Entry& entry, const std::string& where) {
    if (!list.is_array() || list.empty()) {
      throw DataError(str(where, ": expected a list of phrases, found ", list.type_name()));
    }
    for (const Json& phrase : list) {
      if (!phrase.is_string())
        throw DataError(str(where, ": expected text, found ", phrase.dump()));
      lexicon.add(phrase.get<std::string>(), entry, where);
    }
  };
  for (const auto& [name, phrases] : json_object(json, "categories", file.string()).items()) {
    const std::string where = str(file.string(), ": categories.", name);
    if (coda::region_class(name).empty()) throw DataError(where + ": CODA has no such category");
    read(phrases, {{}, name, false}, where);
  }
  for (const char* table : {"ignore", "negations"}) {
    read(json_array(json, table, file.string()), {{}, "", table == std::string("negations")},
         str(file.string(), ": ", table));
  }
  return lexicon;
}

const MentionLexicon::Entry* MentionLexicon::longest(const std::vector<std::string>& words,
                                                     size_t at) const {
  const auto list = by_first_word_.find(words[at]);
  if (list == by_first_word_.end()) return nullptr;
  for (const Entry& entry : list->second) {
    const size_t n = entry.words.size();
    if (at + n > words.size()) continue;
    bool equal = same_or_plural(words[at + n - 1], entry.words[n - 1]);
    for (size_t i = 0; equal && i + 1 < n; ++i) equal = words[at + i] == entry.words[i];
    if (equal) return &entry;
  }
  return nullptr;
}

std::set<std::string> MentionLexicon::categories(const std::string& text) const {
  std::set<std::string> found;
  for (const skills::Span& sentence : skills::sentences(text)) {
    const auto words = words_of(std::string(sentence.of(text)));
    bool negated = false;  // by the phrase that ends right before this word
    for (size_t at = 0; at < words.size();) {
      const Entry* entry = longest(words, at);
      if (entry && !entry->category.empty() && !negated) found.insert(entry->category);
      negated = entry && entry->negation;
      at += entry ? entry->words.size() : 1;
    }
  }
  return found;
}

std::set<std::string> mentioned_classes(const std::set<std::string>& categories) {
  std::set<std::string> classes;
  for (const std::string& category : categories) classes.insert(coda::region_class(category));
  return classes;
}

void MentionScore::add(const std::string& prediction, const std::string& reference) {
  const auto said = lexicon_.categories(prediction), true_ones = lexicon_.categories(reference);
  categories_.add(said, true_ones);
  classes_.add(mentioned_classes(said), mentioned_classes(true_ones));
}

Json MentionScore::to_json() const {
  return {{"classes", classes_.to_json()}, {"categories", categories_.to_json()}};
}

}  // namespace mose::eval
