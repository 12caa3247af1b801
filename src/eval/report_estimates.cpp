#include "eval/report_estimates.h"

#include <algorithm>
#include <map>

#include "mose/coda/answers.h"
#include "mose/core/resources.h"
#include "mose/eval/items.h"

namespace mose::eval::report {
namespace {

using PartKey = std::pair<std::string, std::string>;

Estimate estimate(const std::vector<Observation>& items) {
  return {static_cast<int64_t>(items.size()), mean_of_groups(items), bootstrap_interval(items)};
}

// The skills of a reference are asked for once, whatever the number of arms.
class SkillsOf {
 public:
  const std::vector<std::string>& operator()(const Item& item) {
    const auto [it, added] = cache_.try_emplace({item.task, item.region_class, item.reference},
                                                std::vector<std::string>());
    if (added) it->second = reference_skills(annotator_, item);
    return it->second;
  }
  const std::vector<skills::Skill>& all() const { return annotator_.taxonomy().skills(); }

 private:
  skills::Annotator annotator_{skills::Taxonomy::load(resource("skills/driving.json"))};
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<std::string>> cache_;
};

std::map<PartKey, Estimate> estimates(const Arm& arm, SkillsOf& skills_of) {
  std::map<PartKey, std::vector<Observation>> lists;
  std::map<std::string, size_t> scenes;
  for (const auto& [key, rated] : arm.rated) {
    const auto score = rated.score();
    if (!rated.item.prediction || !score) continue;
    const size_t scene = scenes.emplace(key.id, scenes.size()).first->second;
    const auto task = std::find(std::begin(coda::kTasks), std::end(coda::kTasks), key.task);
    lists[{"final", ""}].push_back(
        {*score, static_cast<size_t>(task - std::begin(coda::kTasks)), scene});
    const auto add = [&](const char* kind, const std::string& name) {
      lists[{kind, name}].push_back({*score, 0, scene});
    };
    add("task", key.task);
    if (!rated.item.region_class.empty()) add("region class", rated.item.region_class);
    for (const std::string& skill : skills_of(rated.item)) add("skill", skill);
  }
  std::map<PartKey, Estimate> out;
  for (const auto& [key, list] : lists) out[key] = estimate(list);
  // Without one of the tasks there is no Final.
  for (const char* task : coda::kTasks) {
    if (!out.count({"task", task})) out.erase({"final", ""});
  }
  return out;
}

}  // namespace

std::vector<Part> estimate_parts(const std::vector<Arm>& arms) {
  if (std::all_of(arms.begin(), arms.end(), [](const Arm& a) { return a.rated.empty(); }))
    return {};
  SkillsOf skills_of;
  std::vector<std::map<PartKey, Estimate>> by_arm;
  std::vector<PartKey> order = {{"final", ""}};
  for (const char* task : coda::kTasks) order.emplace_back("task", task);
  std::map<PartKey, int64_t> classes;
  for (const Arm& arm : arms) {
    by_arm.push_back(estimates(arm, skills_of));
    for (const auto& [key, e] : by_arm.back()) {
      if (key.first == "region class") classes[key] = 0;
    }
  }
  for (const auto& [key, zero] : classes) order.push_back(key);
  for (const skills::Skill& skill : skills_of.all()) order.emplace_back("skill", skill.name);

  std::vector<Part> parts;
  for (const PartKey& key : order) {
    Part part{key.first, key.second, {}};
    for (const auto& found : by_arm) {
      const auto it = found.find(key);
      part.by_arm.push_back(it == found.end() ? std::nullopt : std::optional(it->second));
    }
    const bool any = std::any_of(part.by_arm.begin(), part.by_arm.end(),
                                 [](const auto& e) { return e.has_value(); });
    if (any) parts.push_back(std::move(part));
  }
  return parts;
}

const Part* find_part(const std::vector<Part>& parts, const std::string& kind,
                      const std::string& name) {
  for (const Part& part : parts) {
    if (part.kind == kind && part.name == name) return &part;
  }
  return nullptr;
}

}  // namespace mose::eval::report
