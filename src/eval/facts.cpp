#include "mose/eval/facts.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

enum class Kind { kClass, kPlace, kRisk, kAction, kWeather, kTime, kNegation, kIgnore };

using Words = std::vector<std::string>;

struct Phrase {
  Words words;
  Kind kind;
  std::string value;
};

// A phrase found in a sentence: words [begin, end).
struct Match {
  const Phrase* phrase;
  size_t begin, end;
};

// Lower-case words of each sentence. Apostrophes vanish; every other sign separates words.
std::vector<Words> sentences(const std::string& text) {
  std::vector<Words> out(1);
  std::string word;
  auto end_word = [&] {
    if (!word.empty()) out.back().push_back(std::move(word));
    word.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (std::isalnum(c) || c >= 0x80) {
      word += static_cast<char>(c < 0x80 ? std::tolower(c) : c);
      continue;
    }
    if (c == '\'') continue;
    end_word();
    const bool decimal = c == '.' && i > 0 && i + 1 < text.size() &&
                         std::isdigit(static_cast<unsigned char>(text[i - 1])) &&
                         std::isdigit(static_cast<unsigned char>(text[i + 1]));
    const bool ends = c == '.' || c == '!' || c == '?' || c == ';' || c == '\n';
    if (ends && !decimal && !out.back().empty()) out.emplace_back();
  }
  end_word();
  if (out.back().empty()) out.pop_back();
  return out;
}

Words words_of(const std::string& phrase) {
  const std::vector<Words> found = sentences(phrase);
  return found.size() == 1 ? found[0] : Words{};
}

}  // namespace

struct FactLexicon::Tables {
  std::vector<std::string> classes, places, risks, actions, weather, times;
  std::map<std::string, std::vector<Phrase>> by_first_word;  // the longest first

  void add(const std::string& text, Kind kind, const std::string& value, const std::string& where) {
    Phrase phrase{words_of(text), kind, value};
    if (phrase.words.empty()) {
      throw DataError(str(where, ": \"", text, "\": expected the words of one phrase"));
    }
    std::vector<Phrase>& list = by_first_word[phrase.words[0]];
    for (const Phrase& other : list) {
      if (other.words == phrase.words) {
        throw DataError(
            str(where, ": \"", text, "\" is listed twice, also for \"", other.value, "\""));
      }
    }
    list.push_back(std::move(phrase));
    std::stable_sort(list.begin(), list.end(), [](const Phrase& a, const Phrase& b) {
      return a.words.size() > b.words.size();
    });
  }

  // Phrases from left to right; a word belongs to one phrase at most.
  std::vector<Match> match(const Words& words) const {
    std::vector<Match> matches;
    for (size_t at = 0; at < words.size();) {
      const Phrase* found = nullptr;
      const auto list = by_first_word.find(words[at]);
      if (list != by_first_word.end()) {
        for (const Phrase& phrase : list->second) {
          if (at + phrase.words.size() <= words.size() &&
              std::equal(phrase.words.begin(), phrase.words.end(),
                         words.begin() + static_cast<std::ptrdiff_t>(at))) {
            found = &phrase;
            break;
          }
        }
      }
      if (!found) {
        ++at;
        continue;
      }
      if (found->kind != Kind::kIgnore) matches.push_back({found, at, at + found->words.size()});
      at += found->words.size();
    }
    return matches;
  }
};

FactLexicon FactLexicon::load(const std::filesystem::path& file) {
  const Json json = load_json(file);
  auto tables = std::make_shared<Tables>();
  const std::string where = file.string();
  auto read_phrases = [&](const Json& list, Kind kind, const std::string& value,
                          const std::string& at) {
    if (!list.is_array() || list.empty()) {
      throw DataError(
          str(at, ": expected a list of at least one phrase, found ", list.type_name()));
    }
    for (const Json& phrase : list) {
      if (!phrase.is_string()) throw DataError(str(at, ": expected text, found ", phrase.dump()));
      tables->add(phrase.get<std::string>(), kind, value, at);
    }
  };
  const std::vector<std::tuple<const char*, Kind, std::vector<std::string>*>> named = {
      {"classes", Kind::kClass, &tables->classes},   {"places", Kind::kPlace, &tables->places},
      {"risks", Kind::kRisk, &tables->risks},        {"actions", Kind::kAction, &tables->actions},
      {"weather", Kind::kWeather, &tables->weather}, {"time", Kind::kTime, &tables->times}};
  for (const auto& [table, kind, values] : named) {
    for (const auto& [value, phrases] : json_object(json, table, where).items()) {
      values->push_back(value);
      read_phrases(phrases, kind, value, str(where, ": ", table, ".", value));
    }
  }
  read_phrases(json_array(json, "ignore", where), Kind::kIgnore, "ignore", where + ": ignore");
  read_phrases(json_array(json, "negations", where), Kind::kNegation, "negations",
               where + ": negations");
  FactLexicon lexicon;
  lexicon.tables_ = std::move(tables);
  return lexicon;
}

FactSet FactLexicon::extract(const std::string& text) const {
  FactSet facts;
  const Match* none = nullptr;
  std::optional<std::string> carried;  // the last class of the sentences before
  for (const Words& words : sentences(text)) {
    const std::vector<Match> matches = tables_->match(words);
    auto is = [](const Match& m, Kind kind) { return m.phrase->kind == kind; };
    auto negated = [&](size_t i, size_t reach) {
      return i > 0 && is(matches[i - 1], Kind::kNegation) &&
             matches[i].begin - matches[i - 1].end <= reach;
    };
    auto before = [&](size_t i) {
      const Match* found = none;
      for (size_t k = 0; k < i; ++k) {
        if (is(matches[k], Kind::kClass)) found = &matches[k];
      }
      return found;
    };
    auto after = [&](size_t i) {
      for (size_t k = i + 1; k < matches.size(); ++k) {
        if (is(matches[k], Kind::kClass)) return &matches[k];
      }
      return none;
    };
    bool place_first = false;
    for (const Match& m : matches) {
      if (!is(m, Kind::kPlace) && !is(m, Kind::kClass)) continue;
      place_first = is(m, Kind::kPlace);
      break;
    }
    for (size_t i = 0; i < matches.size(); ++i) {
      const std::string& value = matches[i].phrase->value;
      auto stated = [&](const Match* m) {  // the class, unless it is denied
        return m && !negated(static_cast<size_t>(m - matches.data()), 1);
      };
      switch (matches[i].phrase->kind) {
        case Kind::kPlace: {
          const Match* owner = place_first ? after(i) : before(i);
          if (!owner) owner = before(i);
          if (stated(owner)) facts.describe.insert(owner->phrase->value + "@" + value);
          break;
        }
        case Kind::kRisk: {
          const Match* owner = before(i) ? before(i) : after(i);
          if (stated(owner)) facts.reason.insert(owner->phrase->value + ":" + value);
          if (!owner && carried) facts.reason.insert(*carried + ":" + value);
          break;
        }
        case Kind::kAction:
          if (!negated(i, 3)) facts.plan.insert(value);
          break;
        case Kind::kWeather:
          facts.describe.insert("weather:" + value);
          break;
        case Kind::kTime:
          facts.describe.insert("time:" + value);
          break;
        default:
          break;
      }
    }
    if (const Match* last = before(matches.size())) carried = last->phrase->value;
  }
  return facts;
}

const std::vector<std::string>& FactLexicon::classes() const {
  return tables_->classes;
}
const std::vector<std::string>& FactLexicon::places() const {
  return tables_->places;
}
const std::vector<std::string>& FactLexicon::risks() const {
  return tables_->risks;
}
const std::vector<std::string>& FactLexicon::actions() const {
  return tables_->actions;
}
const std::vector<std::string>& FactLexicon::weather() const {
  return tables_->weather;
}
const std::vector<std::string>& FactLexicon::times() const {
  return tables_->times;
}

FactSet load_facts(const std::filesystem::path& file, const std::string& region) {
  const Json json = load_json(file);
  auto read = [](const Json& object, const char* key, const std::string& where) {
    std::set<std::string> out;
    for (const Json& fact : json_array(object, key, where)) {
      if (!fact.is_string()) {
        throw DataError(str(where, ": ", key, ": expected text, found ", fact.dump()));
      }
      out.insert(fact.get<std::string>());
    }
    return out;
  };
  const std::string where = file.string();
  if (region.empty()) {
    return {read(json, "describe", where), read(json, "reason", where), read(json, "plan", where)};
  }
  const Json& object =
      json_object(json_object(json, "regions", where), region, where + ": regions");
  const std::string at = where + ": regions." + region;
  return {read(object, "describe", at), read(object, "reason", at), {}};
}

}  // namespace mose::eval
