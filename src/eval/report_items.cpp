// Single items: the worst, the best and the most disputed as cards, and all of them in a table.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "eval/report_parts.h"
#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/coda/image_size.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/eval/statistics.h"

namespace mose::eval::report {
namespace {

namespace fs = std::filesystem;

// An item of the leading arm with what picks it: its score, and how far the judges are apart.
struct Entry {
  ItemKey key;
  const RatedItem* rated;
  std::optional<double> score, spread;
  std::set<std::string> kinds;  // "worst", "best", "disputed"
};

std::vector<Entry> entries_of(const Arm& lead) {
  std::map<ItemKey, std::vector<double>> by_judge;
  for (const std::string& judge : judges_of(lead.items)) {
    for (const auto& [key, rated] : rated_by(lead.items, judge)) {
      if (rated.item.prediction && !rated.ratings.empty()) {
        by_judge[key].push_back(mean(rated.ratings));
      }
    }
  }
  std::vector<Entry> out;
  for (const auto& [key, rated] : lead.rated) {
    Entry entry{key, &rated, rated.score(), std::nullopt, {}};
    const auto& scores = by_judge[key];
    if (scores.size() > 1) entry.spread = std::sqrt(sample_variance(scores));
    out.push_back(std::move(entry));
  }
  return out;
}

// Marks the first `count` of the list in the order of `before`.
template <class Before>
void mark(std::vector<Entry*> list, const char* kind, size_t count, Before before) {
  std::stable_sort(list.begin(), list.end(),
                   [&](const Entry* a, const Entry* b) { return before(*a, *b); });
  for (size_t i = 0; i < std::min(count, list.size()); ++i) list[i]->kinds.insert(kind);
}

void pick(std::vector<Entry>& entries, size_t count) {
  for (const char* task : coda::kTasks) {
    std::vector<Entry*> judged, rest, disputed;
    for (Entry& e : entries) {
      if (e.key.task != task || !e.rated->item.prediction || !e.score) continue;
      judged.push_back(&e);
      if (e.spread.value_or(0) > 0) disputed.push_back(&e);
    }
    mark(judged, "worst", std::min(count, (judged.size() + 1) / 2),
         [](const Entry& a, const Entry& b) { return *a.score < *b.score; });
    for (Entry* e : judged) {
      if (e->kinds.empty()) rest.push_back(e);
    }
    mark(rest, "best", count, [](const Entry& a, const Entry& b) { return *a.score > *b.score; });
    mark(disputed, "disputed", count,
         [](const Entry& a, const Entry& b) { return *a.spread > *b.spread; });
  }
}

// The pictures that cards show, each embedded once.
class Pictures {
 public:
  explicit Pictures(const ReportSpec& spec) : spec_(spec) {}

  // The item's picture with its region, or "" where the set has none.
  std::string show(const Item& item) {
    if (spec_.coda.empty()) return "";
    const fs::path root = spec_.coda;
    const fs::path annotation =
        root / "CODA-LM" / coda::split_name(spec_.split) / (item.id + ".json");
    fs::path image = item.image;
    std::string box;
    if (fs::exists(annotation)) {
      const coda::Annotation a = coda::load_annotation(annotation);
      image = a.image;
      for (const coda::Region& region : a.regions) {
        if (region.index != item.region) continue;
        box = str("<rect x=\"", region.box.x, "\" y=\"", region.box.y, "\" width=\"", region.box.w,
                  "\" height=\"", region.box.h, "\"/>");
      }
    }
    if (!fs::exists(root / image)) return "";
    const auto [it, added] = embedded_.try_emplace(image.generic_string());
    auto& [name, size] = it->second;
    if (added) {
      name = str("picture", embedded_.size());
      size = coda::image_size(root / image);
      embed(root / image, name, size);
    }
    return str("<figure><svg class=\"whole\" viewBox=\"0 0 ", size.width, " ", size.height,
               "\" role=\"img\" aria-label=\"scene ", html_escape(item.id), "\"><use href=\"#",
               name, "\"/>", box, "</svg></figure>\n");
  }
  // The definitions that the pictures refer to.
  std::string definitions() const {
    return symbols_.empty()
               ? ""
               : str("<svg class=\"definitions\" aria-hidden=\"true\">", symbols_, "</svg>\n");
  }

 private:
  void embed(const fs::path& file, const std::string& name, const coda::ImageSize& size) {
    const char* type = file.extension() == ".png" ? "image/png" : "image/jpeg";
    symbols_ +=
        str("<symbol id=\"", name, "\" viewBox=\"0 0 ", size.width, " ", size.height,
            "\"><image width=\"", size.width, "\" height=\"", size.height, "\" href=\"data:", type,
            ";base64,", base64(read_file(file)), "\"/></symbol>\n");
  }
  const ReportSpec& spec_;
  std::map<std::string, std::pair<std::string, coda::ImageSize>> embedded_;  // by path: id, size
  std::string symbols_;
};

// The question as the set's own file words it; "" where there is none.
class Wording {
 public:
  explicit Wording(const ReportSpec& spec) {
    if (spec.coda.empty()) return;
    for (const char* task : coda::kTasks) {
      const fs::path file = fs::path(spec.coda) / "CODA-LM" / coda::split_name(spec.split) /
                            "vqa_anno" / str(task, ".jsonl");
      if (!fs::exists(file)) continue;
      for (const coda::VqaRow& row : coda::read_rows(file)) {
        texts_[{task, row.question_id, row.image}] = row.question;
      }
    }
  }
  std::string of(const Item& item) const {
    const auto it = texts_.find({item.task, item.question_id, item.image});
    return it == texts_.end() ? "" : it->second;
  }

 private:
  std::map<std::tuple<std::string, int64_t, std::string>, std::string> texts_;
};

std::string badge(const std::optional<double>& score) {
  return str("<span class=\"score\" style=\"--v:", fixed(score.value_or(0) / 100, 3), "\">",
             score ? fixed(*score, 1) : "&ndash;", "</span>");
}

std::string paragraph(const char* title, const std::string& text) {
  return str("<h5>", title, "</h5><p>", html_escape(trim(text)), "</p>");
}

// Every verdict on the arm's answer: judge, score, and the judge's words where it has some.
std::string verdicts(const Arm& arm, const ItemKey& key) {
  std::string out;
  for (const Item& item : arm.items) {
    if (key_of(item) != key) continue;
    std::string words = trim(item.reply.empty() ? item.reason : item.reply);
    out += str("<div class=\"verdict\">", badge(item.score), "<b>", html_escape(item.judge),
               item.repeat > 0 ? str(", asked again (", item.repeat, ")") : "", "</b>",
               words.empty() ? "" : str("<p>", html_escape(words), "</p>"), "</div>\n");
  }
  return out;
}

std::string answer_of(const Arm& arm, const ItemKey& key) {
  const auto it = arm.rated.find(key);
  if (it == arm.rated.end()) return "";
  const auto& prediction = it->second.item.prediction;
  const bool empty = !prediction || trim(*prediction).empty();
  return str("<div class=\"answer\"><h4>", arm_tag(arm), badge(it->second.score()), "</h4><p",
             empty ? " class=\"quiet\">" : ">",
             !prediction ? "no answer"
             : empty     ? "empty answer"
                         : html_escape(trim(*prediction)),
             "</p>\n", verdicts(arm, key), "</div>\n");
}

std::string card(const Entry& entry, const std::vector<Arm>& arms, const Wording& wording,
                 Pictures& pictures) {
  const Item& item = entry.rated->item;
  std::string kinds, chips, answers;
  for (const std::string& kind : entry.kinds) {
    kinds += (kinds.empty() ? "" : " ") + kind;
    chips += str(" <span class=\"chip\">", kind, "</span>");
  }
  for (const Arm& arm : arms) answers += answer_of(arm, entry.key);
  const std::string question = wording.of(item);
  return str("<article class=\"panel sample\" data-task=\"", item.task, "\" data-kind=\"", kinds,
             "\" data-score=\"", entry.score ? fixed(*entry.score, 6) : "", "\" data-spread=\"",
             entry.spread ? fixed(*entry.spread, 6) : "", "\" data-scene=\"", html_escape(item.id),
             "\"><div class=\"top\">", pictures.show(item), "<div class=\"answer\"><h4>",
             html_escape(spoken(item.task)), " &middot; ", html_escape(item.id),
             item.region.empty() ? "" : " region " + html_escape(item.region),
             item.region_class.empty() ? "" : " (" + html_escape(item.region_class) + ")", chips,
             "</h4>", question.empty() ? "" : paragraph("Question", question),
             paragraph("Reference", item.reference), "</div></div>\n<div class=\"arms\">\n",
             answers, "</div></article>\n");
}

std::string options(const std::vector<std::pair<std::string, std::string>>& list) {
  std::string out;
  for (const auto& [value, title] : list) {
    out += str("<option value=\"", html_escape(value), "\">", html_escape(title), "</option>");
  }
  return out;
}

std::string select(const char* name, const char* title,
                   const std::vector<std::pair<std::string, std::string>>& list) {
  return str("<label>", title, " <select name=\"", name, "\">", options(list),
             "</select></label>\n");
}

std::vector<std::pair<std::string, std::string>> tasks_of(const std::vector<Entry>& entries) {
  std::vector<std::pair<std::string, std::string>> out = {{"", "all"}};
  for (const char* task : coda::kTasks) {
    const bool any = std::any_of(entries.begin(), entries.end(),
                                 [&](const Entry& e) { return e.key.task == task; });
    if (any) out.emplace_back(task, spoken(task));
  }
  return out;
}

// A form that the script shows: without it, it would do nothing.
std::string filter(const char* list, const std::string& fields) {
  return str(
      "<form class=\"filter\" data-list=\"", list, "\" hidden>\n", fields,
      "<label>Words <input type=\"search\" name=\"text\" placeholder=\"in any text\"></label>"
      "\n<output></output></form>\n");
}

std::string all_items(const std::vector<Entry>& entries, const std::vector<Arm>& arms) {
  std::string head, body;
  std::set<std::string> classes;
  const bool spread = std::any_of(entries.begin(), entries.end(),
                                  [](const Entry& e) { return e.spread.has_value(); });
  for (const Arm& arm : arms) head += str("<th>", arm_tag(arm), "</th>");
  const auto number_cell = [](const std::optional<double>& v) {
    return str("<td data-v=\"", v ? fixed(*v, 6) : "", "\">", number(v), "</td>");
  };
  for (const Entry& e : entries) {
    const Item& item = e.rated->item;
    if (!item.region_class.empty()) classes.insert(item.region_class);
    std::string cells;
    for (const Arm& arm : arms) {
      const auto it = arm.rated.find(e.key);
      cells += number_cell(it == arm.rated.end() ? std::nullopt : it->second.score());
    }
    if (spread) cells += number_cell(e.spread);
    const char* state = !item.prediction                 ? "missing"
                        : trim(*item.prediction).empty() ? "empty"
                        : !e.score                       ? "unjudged"
                                                         : "";
    body += str("<tr data-task=\"", item.task, "\" data-class=\"", html_escape(item.region_class),
                "\"><th>", html_escape(item.id),
                item.region.empty() ? "" : " &middot; " + html_escape(item.region),
                "</th><td class=\"text\">", html_escape(spoken(item.task)),
                "</td><td class=\"text\">", html_escape(item.region_class), "</td>", cells,
                "<td class=\"text\">", state, "</td></tr>\n");
  }
  std::vector<std::pair<std::string, std::string>> class_list = {{"", "all"}};
  for (const std::string& name : classes) class_list.emplace_back(name, name);
  return str("<details><summary>All ", entries.size(), " items</summary>\n",
             filter("all-items", select("task", "Task", tasks_of(entries)) +
                                     (classes.empty() ? "" : select("class", "Class", class_list))),
             "<div class=\"scroll tall\"><table class=\"sortable\"><thead><tr><th>Scene</th>"
             "<th class=\"text\">Task</th><th class=\"text\">Class</th>",
             head, spread ? "<th>spread</th>" : "",
             "<th class=\"text\">Answer</th></tr></thead><tbody id=\"all-items\">\n", body,
             "</tbody></table></div></details>\n");
}

}  // namespace

std::string item_section(const ReportSpec& spec, const std::vector<Arm>& arms) {
  const Arm& lead = arms.front();
  if (lead.rated.empty() || spec.items == 0) return "";
  std::vector<Entry> entries = entries_of(lead);
  pick(entries, static_cast<size_t>(spec.items));
  const Wording wording(spec);
  Pictures pictures(spec);
  std::vector<const Entry*> chosen;
  bool disputed = false;
  for (const Entry& e : entries) {
    if (!e.kinds.empty()) chosen.push_back(&e);
    disputed |= e.kinds.count("disputed") > 0;
  }
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const Entry* a, const Entry* b) { return *a->score < *b->score; });
  std::string cards;
  for (const Entry* e : chosen) cards += card(*e, arms, wording, pictures);
  std::vector<std::pair<std::string, std::string>> kinds = {
      {"", "all"}, {"worst", "worst"}, {"best", "best"}};
  std::vector<std::pair<std::string, std::string>> orders = {{"score up", "score, worst first"},
                                                             {"score down", "score, best first"},
                                                             {"scene up", "scene"}};
  if (disputed) {
    kinds.emplace_back("disputed", "most disputed");
    orders.emplace_back("spread down", "most disputed first");
  }
  return str("<section id=\"items\"><h2>Items</h2>\n<p class=\"sub\">Of each task the ", spec.items,
             " answers of ", arm_tag(lead), " that the judge <b>", html_escape(lead.judge),
             "</b> rated lowest and highest", disputed ? ", and those its judges dispute most" : "",
             ". The red box is the region that was asked about.</p>\n",
             filter("cards", select("task", "Task", tasks_of(entries)) +
                                 select("kind", "Show", kinds) + select("sort", "Order", orders)),
             pictures.definitions(), "<div id=\"cards\">\n", cards, "</div>\n",
             all_items(entries, arms), "</section>\n");
}

}  // namespace mose::eval::report
