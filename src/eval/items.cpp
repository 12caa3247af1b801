#include "mose/eval/items.h"

#include <algorithm>
#include <set>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"
#include "mose/eval/statistics.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

std::string text_or_empty(const Json& json, const char* key, const std::string& where) {
  return json.contains(key) ? json_string(json, key, where) : "";
}

Item read_item(const Json& json, const std::string& where) {
  Item item;
  item.task = json_string(json, "task", where);
  if (std::find(std::begin(coda::kTasks), std::end(coda::kTasks), item.task) ==
      std::end(coda::kTasks)) {
    throw DataError(str(where, ": task: expected ", coda::kTasks[0], ", ", coda::kTasks[1], " or ",
                        coda::kTasks[2], ", found \"", item.task, "\""));
  }
  item.id = json_string(json, "id", where);
  item.region = text_or_empty(json, "region", where);
  item.region_class = text_or_empty(json, "region_class", where);
  item.question_id = json_int(json, "question_id", where);
  item.image = json_string(json, "image", where);
  item.reference = json_string(json, "reference", where);
  if (!json_at(json, "prediction", where).is_null()) {
    item.prediction = json_string(json, "prediction", where);
  }
  item.judge = json_string(json, "judge", where);
  if (json.contains("repeat")) item.repeat = json_int(json, "repeat", where);
  if (!json_at(json, "score", where).is_null()) {
    item.score = json_number(json, "score", where);
    if (!(*item.score >= 0 && *item.score <= 100)) {
      throw DataError(str(where, ": score: expected 0 to 100 or null, found ", *item.score));
    }
  }
  item.reason = text_or_empty(json, "reason", where);
  item.reply = text_or_empty(json, "reply", where);
  return item;
}

// A category of CODA's whose region class this is; skills know categories by it.
std::string category_of_class(const std::string& region_class) {
  for (const std::string& name : coda::category_names()) {
    if (coda::region_class(name) == region_class) return name;
  }
  return "";
}

}  // namespace

std::vector<Item> load_items(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? path / "items.jsonl" : path;
  std::vector<Item> items;
  for_each_line(file, [&](const std::string& text, int64_t line) {
    const std::string where = str(file.string(), ":", line);
    items.push_back(read_item(parse_json(text, where), where));
  });
  if (items.empty()) throw DataError(file.string() + ": no items");
  return items;
}

ItemKey key_of(const Item& item) {
  return {item.task, item.id, item.region, item.question_id};
}

std::string item_label(const ItemKey& key) {
  return str(key.task, " ", key.id, key.region.empty() ? "" : " region ", key.region);
}

std::optional<double> RatedItem::score() const {
  if (ratings.empty()) return std::nullopt;
  return mean(ratings);
}

RatedItems rated_by(const std::vector<Item>& items, const std::string& judge) {
  RatedItems out;
  std::set<std::pair<ItemKey, int64_t>> seen;
  for (const Item& item : items) {
    if (item.judge != judge) continue;
    const ItemKey key = key_of(item);
    if (!seen.emplace(key, item.repeat).second) {
      throw DataError(str("items of judge ", judge, ": ", item_label(key), ", question_id ",
                          key.question_id, ": repeat ", item.repeat, " comes twice"));
    }
    RatedItem& rated = out.try_emplace(key, RatedItem{item, {}}).first->second;
    if (item.score) rated.ratings.push_back(*item.score);
  }
  return out;
}

std::vector<std::string> judges_of(const std::vector<Item>& items) {
  std::vector<std::string> names;
  for (const Item& item : items) {
    if (std::find(names.begin(), names.end(), item.judge) == names.end()) {
      names.push_back(item.judge);
    }
  }
  return names;
}

std::vector<std::string> reference_skills(const skills::Annotator& annotator, const Item& item) {
  const auto labelled = skills::label_answer(annotator, item.reference, item.task,
                                             category_of_class(item.region_class));
  std::set<int64_t> found;
  for (const auto& label : labelled.labels) {
    if (label.skill >= 0) found.insert(label.skill);
  }
  std::vector<std::string> names;
  for (const int64_t skill : found) {
    names.push_back(annotator.taxonomy().skills()[static_cast<size_t>(skill)].name);
  }
  return names;
}

}  // namespace mose::eval
