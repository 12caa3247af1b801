#include "mose/eval/compare.h"

#include <algorithm>

#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

struct Pair {
  const RatedItem* a;
  size_t task, scene;
  double score_a, score_b;
};

bool has_judge(const std::vector<Item>& items, const std::string& judge) {
  const auto names = judges_of(items);
  return std::find(names.begin(), names.end(), judge) != names.end();
}

// The hash of the protocol under which `judge` rated the folder's answers, as its scores.json says;
// "" for an offline judge.
std::string protocol_of(const std::filesystem::path& folder, const std::string& judge) {
  const auto file = folder / "scores.json";
  if (!std::filesystem::exists(file)) return "";
  const Json scores = load_json(file);
  const bool several = scores.contains("judges") && scores["judges"].contains(judge);
  const Json& of_judge = several ? scores["judges"][judge] : scores;
  return of_judge.contains("protocol")
             ? json_string(of_judge["protocol"], "sha256", str(file.string(), ": protocol"))
             : "";
}

// Items of `x` that `y` lacks; the first one's label.
std::pair<int64_t, std::string> lacking(const RatedItems& x, const RatedItems& y) {
  std::pair<int64_t, std::string> out;
  for (const auto& [key, rated] : x) {
    if (y.count(key)) continue;
    if (out.first++ == 0) out.second = item_label(key);
  }
  return out;
}

ComparedPart part(const std::string& kind, const std::string& name,
                  const std::vector<const Pair*>& pairs, const CompareOptions& options) {
  ComparedPart out{kind, name};
  out.items = static_cast<int64_t>(pairs.size());
  const bool by_task = kind == "final";
  std::vector<Observation> a, b, difference;
  std::vector<double> plain;
  for (const Pair* p : pairs) {
    const size_t group = by_task ? p->task : 0;
    a.push_back({p->score_a, group, p->scene});
    b.push_back({p->score_b, group, p->scene});
    difference.push_back({p->score_a - p->score_b, group, p->scene});
    plain.push_back(p->score_a - p->score_b);
  }
  out.a = mean_of_groups(a);
  out.b = mean_of_groups(b);
  out.difference = mean_of_groups(difference);
  out.interval = bootstrap_interval(difference, options.resamples, options.seed);
  out.counts = win_tie_loss(plain);
  out.p_sign = sign_test(out.counts);
  out.p_random = sign_flip_test(difference, options.resamples * 5, options.seed);
  return out;
}

std::vector<Pair> matched(const RatedItems& a, const RatedItems& b, Comparison& out) {
  std::map<std::string, size_t> scenes;
  std::vector<Pair> pairs;
  for (const auto& [key, rated] : a) {
    const auto other = b.find(key);
    if (other == b.end()) continue;
    if (rated.item.reference != other->second.item.reference) {
      throw DataError(str(item_label(key),
                          ": the two folders were scored against different reference answers"));
    }
    const auto score_a = rated.score(), score_b = other->second.score();
    if (!score_a || !score_b) {
      ++out.unjudged;
      continue;
    }
    out.missing_a += rated.item.prediction ? 0 : 1;
    out.missing_b += other->second.item.prediction ? 0 : 1;
    const auto task = std::find(std::begin(coda::kTasks), std::end(coda::kTasks), key.task);
    pairs.push_back({&rated, static_cast<size_t>(task - std::begin(coda::kTasks)),
                     scenes.emplace(key.id, scenes.size()).first->second, *score_a, *score_b});
  }
  return pairs;
}

}  // namespace

Comparison compare(const CompareOptions& options) {
  const auto items_a = load_items(options.a), items_b = load_items(options.b);
  Comparison out;
  out.judge = options.judge.empty() ? items_a.front().judge : options.judge;
  if (!has_judge(items_a, out.judge)) {
    throw UsageError(str(options.a.string(), ": judge \"", out.judge, "\": expected one of ",
                         join(judges_of(items_a), ", ")));
  }
  if (!has_judge(items_b, out.judge)) {
    throw DataError(str(options.b.string(), " was judged by ", join(judges_of(items_b), ", "), ", ",
                        options.a.string(), " by ", out.judge,
                        "; scores compare only under one judge"));
  }
  if (protocol_of(options.a, out.judge) != protocol_of(options.b, out.judge)) {
    throw DataError(str(options.a.string(), " and ", options.b.string(), " were judged by ",
                        out.judge,
                        " under different protocols (protocol.sha256 in scores.json); "
                        "scores compare only under one"));
  }
  const RatedItems a = rated_by(items_a, out.judge), b = rated_by(items_b, out.judge);
  const auto [only_a, first_a] = lacking(a, b);
  const auto [only_b, first_b] = lacking(b, a);
  if (only_a + only_b > 0 && !options.common) {
    throw DataError(str(
        "the folders do not hold the same items: ", only_a, " only in ", options.a.string(),
        only_a ? str(" (first: ", first_a, ")") : "", ", ", only_b, " only in ", options.b.string(),
        only_b ? str(" (first: ", first_b, ")") : "", "; --common compares what both have"));
  }
  out.only_a = only_a;
  out.only_b = only_b;
  const std::vector<Pair> pairs = matched(a, b, out);
  if (pairs.empty()) {
    throw DataError(str(options.a.string(), " and ", options.b.string(),
                        " share no item that both have a rating for"));
  }

  const skills::Annotator annotator(skills::Taxonomy::load(
      options.taxonomy.empty() ? resource("skills/driving.json") : options.taxonomy));
  std::vector<const Pair*> all;
  std::vector<std::vector<const Pair*>> by_task(3);
  std::map<std::string, std::vector<const Pair*>> by_class, by_skill;
  for (const Pair& pair : pairs) {
    all.push_back(&pair);
    by_task[pair.task].push_back(&pair);
    if (!pair.a->item.region_class.empty()) by_class[pair.a->item.region_class].push_back(&pair);
    for (const std::string& skill : reference_skills(annotator, pair.a->item)) {
      by_skill[skill].push_back(&pair);
    }
  }
  out.parts.push_back(part("final", "mean of the tasks", all, options));
  for (size_t t = 0; t < 3; ++t) {
    if (!by_task[t].empty()) {
      out.parts.push_back(part("task", coda::kTasks[t], by_task[t], options));
    }
  }
  for (const auto& [name, list] : by_class) {
    out.parts.push_back(part("region class", name, list, options));
  }
  for (const skills::Skill& skill : annotator.taxonomy().skills()) {
    const auto list = by_skill.find(skill.name);
    if (list != by_skill.end()) {
      out.parts.push_back(part("skill", skill.name, list->second, options));
    }
  }
  return out;
}

Table comparison_table(const Comparison& comparison) {
  Table table{"comparison",
              "",
              {"part", "name", "items", "A", "B", "A - B", "low", "high", "win", "tie", "loss",
               "p sign", "p random"},
              {},
              2};
  for (const ComparedPart& p : comparison.parts) {
    table.rows.push_back({p.kind, p.name, p.items, p.a, p.b, p.difference, p.interval.low,
                          p.interval.high, p.counts.wins, p.counts.ties, p.counts.losses, p.p_sign,
                          p.p_random});
  }
  return table;
}

Json comparison_json(const Comparison& c) {
  Json parts = Json::array();
  for (const ComparedPart& p : c.parts) {
    parts.push_back({{"part", p.kind},
                     {"name", p.name},
                     {"items", p.items},
                     {"a", p.a},
                     {"b", p.b},
                     {"difference", p.difference},
                     {"interval", {p.interval.low, p.interval.high}},
                     {"win", p.counts.wins},
                     {"tie", p.counts.ties},
                     {"loss", p.counts.losses},
                     {"p_sign", p.p_sign},
                     {"p_random", p.p_random}});
  }
  return {{"judge", c.judge},
          {"items",
           {{"only_a", c.only_a},
            {"only_b", c.only_b},
            {"unjudged", c.unjudged},
            {"missing_a", c.missing_a},
            {"missing_b", c.missing_b}}},
          {"parts", parts}};
}

std::string comparison_note(const Comparison& c) {
  return str("Judge: ", c.judge,
             ". Differences are A - B with 95 % bootstrap intervals drawn by "
             "scene; a win is an item where A scores higher. Missing answers have the judge's "
             "lowest score: ",
             c.missing_a, " of A, ", c.missing_b, " of B. Left out: ", c.only_a,
             " items only in A, ", c.only_b, " only in B, ", c.unjudged, " without a rating.\n");
}

}  // namespace mose::eval
