// The single verdicts behind a score: items.jsonl, which `mose-eval score` writes beside
// scores.json. Comparisons, agreement and the report are made of them.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mose/skills/annotator.h"

namespace mose::eval {

// One row: what one judge said of one answer, the `repeat`-th time it was asked (from 0).
struct Item {
  std::string task, id, region, region_class;  // as in Question; region "" but for regions
  int64_t question_id = -1;
  std::string image, reference;
  std::optional<std::string> prediction;  // nothing when the answer is missing
  std::string judge;
  int64_t repeat = 0;
  std::optional<double> score;  // 0 to 100; nothing when it could not be judged. A missing answer
                                // has the judge's lowest
  std::string reason;           // "missing", or why it could not be judged
  std::string reply;            // the judge's words; "" for the offline judges
};

// `path` is the file, or the folder that holds items.jsonl. DataError names file, line and field.
std::vector<Item> load_items(const std::filesystem::path& path);

struct ItemKey {
  std::string task, id, region;
  int64_t question_id = -1;
  auto operator<=>(const ItemKey&) const = default;
};
ItemKey key_of(const Item& item);
std::string item_label(const ItemKey& key);  // "region_perception val_0001 region 2"

// An item with all the ratings one judge gave it.
struct RatedItem {
  Item item;                    // of the first repeat
  std::vector<double> ratings;  // of the repeats that could be judged, in their order
  // Their mean; nothing for an item that could not be judged.
  std::optional<double> score() const;
};
using RatedItems = std::map<ItemKey, RatedItem>;

// DataError naming the item when a repeat comes twice.
RatedItems rated_by(const std::vector<Item>& items, const std::string& judge);
// In the order of their first rows.
std::vector<std::string> judges_of(const std::vector<Item>& items);

// The skills that the reference text exercises, by the rule annotator: each once, in the
// taxonomy's order.
std::vector<std::string> reference_skills(const skills::Annotator& annotator, const Item& item);

}  // namespace mose::eval
