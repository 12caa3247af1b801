#include <algorithm>
#include <cmath>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/layer.h"

namespace mose::moe {
namespace {

using skills::Taxonomy;
using Serving = std::vector<std::vector<int64_t>>;  // by skill: the experts that serve it

std::vector<double> checked_mass(const std::vector<double>& mass, const Taxonomy& taxonomy) {
  const size_t count = taxonomy.skills().size();
  if (mass.empty()) return std::vector<double>(count, 1.0);
  if (mass.size() != count) {
    throw UsageError(str("moe: the taxonomy has ", count, " skills, but ", mass.size(),
                         " label masses were given"));
  }
  double total = 0;
  for (size_t s = 0; s < count; ++s) {
    if (!std::isfinite(mass[s]) || mass[s] < 0) {
      throw UsageError(str("moe: label mass of skill \"", taxonomy.skills()[s].name, "\" is ", mass[s],
                           ": expected a finite number, at least 0"));
    }
    total += mass[s];
  }
  if (total == 0) return std::vector<double>(count, 1.0);
  // A skill that was never labelled still needs a place, and such skills should spread.
  std::vector<double> out = mass;
  for (double& m : out) m = std::max(m, 1e-3 * total / static_cast<double>(count));
  return out;
}

// Deals `skill_ids` to experts [begin, end), heaviest skill to lightest expert.
void deal(const std::vector<int64_t>& skill_ids, int64_t begin, int64_t end, const Taxonomy& taxonomy,
          const std::vector<double>& mass, Serving& serving) {
  const size_t experts = static_cast<size_t>(end - begin);
  std::vector<int64_t> order = skill_ids;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return mass[static_cast<size_t>(a)] > mass[static_cast<size_t>(b)];
  });
  std::vector<double> load(experts, 0);
  std::vector<std::vector<bool>> serves_stage(experts, std::vector<bool>(taxonomy.stages().size(), false));
  double total = 0;
  for (const int64_t s : order) total += mass[static_cast<size_t>(s)];
  for (const int64_t s : order) {
    const size_t stage = static_cast<size_t>(taxonomy.skills()[static_cast<size_t>(s)].stage);
    const double lightest = *std::min_element(load.begin(), load.end());
    size_t chosen = experts;
    for (size_t e = 0; e < experts; ++e) {
      if (load[e] > lightest + 1e-9 * total) continue;
      if (chosen == experts || (serves_stage[e][stage] && !serves_stage[chosen][stage])) chosen = e;
    }
    load[chosen] += mass[static_cast<size_t>(s)];
    serves_stage[chosen][stage] = true;
    serving[static_cast<size_t>(s)].push_back(begin + static_cast<int64_t>(chosen));
  }
  // Experts left over share the skill with the most mass an expert.
  for (size_t e = order.size(); e < experts; ++e) {
    const int64_t s = *std::max_element(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const size_t i = static_cast<size_t>(a), j = static_cast<size_t>(b);
      return mass[i] / static_cast<double>(serving[i].size()) < mass[j] / static_cast<double>(serving[j].size());
    });
    serving[static_cast<size_t>(s)].push_back(begin + static_cast<int64_t>(e));
  }
}

void deal_by_stage(int64_t experts, const Taxonomy& taxonomy, const std::vector<double>& mass,
                   Serving& serving) {
  const size_t stages = taxonomy.stages().size();
  std::vector<std::vector<int64_t>> members(stages);
  std::vector<double> stage_mass(stages, 0);
  for (size_t s = 0; s < mass.size(); ++s) {
    const size_t g = static_cast<size_t>(taxonomy.skills()[s].stage);
    members[g].push_back(static_cast<int64_t>(s));
    stage_mass[g] += mass[s];
  }
  std::vector<int64_t> share(stages, 0);
  int64_t left = experts;
  for (size_t g = 0; g < stages; ++g) {
    if (members[g].empty()) continue;
    share[g] = 1;
    --left;
  }
  if (left < 0) {
    throw UsageError(str("moe: assignment \"by_stage\" needs an expert for each of ", experts - left,
                         " stages, but experts - shared_experts = ", experts));
  }
  for (; left > 0; --left) {
    // The stage with the most mass an expert; one that has an expert for every skill only when all have.
    size_t best = stages;
    auto full = [&](size_t g) { return share[g] >= static_cast<int64_t>(members[g].size()); };
    for (size_t g = 0; g < stages; ++g) {
      if (members[g].empty()) continue;
      if (best == stages || (full(best) && !full(g)) ||
          (full(best) == full(g) && stage_mass[g] / static_cast<double>(share[g]) >
                                        stage_mass[best] / static_cast<double>(share[best]))) {
        best = g;
      }
    }
    ++share[best];
  }
  int64_t begin = 0;
  for (size_t g = 0; g < stages; ++g) {
    if (members[g].empty()) continue;
    deal(members[g], begin, begin + share[g], taxonomy, mass, serving);
    begin += share[g];
  }
}

void read_table(const Json& table, int64_t experts, const Taxonomy& taxonomy, Serving& serving) {
  if (!table.is_object()) throw UsageError("moe: table: expected an object, skill name -> list of experts");
  std::vector<std::string> known;
  for (const auto& skill : taxonomy.skills()) known.push_back(skill.name);
  for (const auto& [name, list] : table.items()) {
    const int64_t s = taxonomy.skill_index(name);
    if (s < 0) {
      const std::string near = nearest_name(name, known);
      throw UsageError(str("moe: table names the unknown skill \"", name, "\"",
                           near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
    const bool integers = list.is_array() && !list.empty() &&
                          std::all_of(list.begin(), list.end(), [](const Json& j) { return j.is_number_integer(); });
    if (!integers) throw UsageError(str("moe: table.", name, ": expected a list of experts, found ", list.dump()));
    auto& served = serving[static_cast<size_t>(s)];
    for (const Json& item : list) {
      const int64_t e = item.get<int64_t>();
      if (e < 0 || e >= experts) {
        throw UsageError(str("moe: table.", name, " names expert ", item.dump(), ": the experts that serve ",
                             "skills are 0 to ", experts - 1));
      }
      if (std::find(served.begin(), served.end(), e) != served.end()) {
        throw UsageError(str("moe: table.", name, " names expert ", e, " twice"));
      }
      served.push_back(e);
    }
  }
  std::vector<bool> used(static_cast<size_t>(experts), false);
  for (size_t s = 0; s < serving.size(); ++s) {
    if (serving[s].empty()) throw UsageError(str("moe: table lacks the skill \"", known[s], "\""));
    for (const int64_t e : serving[s]) used[static_cast<size_t>(e)] = true;
  }
  for (int64_t e = 0; e < experts; ++e) {
    if (!used[static_cast<size_t>(e)]) {
      throw UsageError(str("moe: table gives expert ", e, " no skill; experts free of skills are the last ",
                           "ones, counted by shared_experts"));
    }
  }
}

}  // namespace

torch::Tensor make_assignment(const Config& config, const Taxonomy& taxonomy,
                              const std::vector<double>& mass) {
  check_config(config);
  const int64_t experts = config.experts - config.shared_experts;
  const int64_t count = static_cast<int64_t>(taxonomy.skills().size());
  if (count == 0) throw UsageError("moe: the taxonomy has no skills to assign to experts");
  const std::vector<double> masses = checked_mass(mass, taxonomy);
  Serving serving(static_cast<size_t>(count));
  if (config.assignment == "identity") {
    if (count != experts) {
      throw UsageError(str("moe: assignment \"identity\" needs as many experts as skills: experts - ",
                           "shared_experts = ", experts, ", skills = ", count));
    }
    for (int64_t s = 0; s < count; ++s) serving[static_cast<size_t>(s)] = {s};
  } else if (config.assignment == "by_stage") {
    deal_by_stage(experts, taxonomy, masses, serving);
  } else if (config.assignment == "table") {
    read_table(config.table, experts, taxonomy, serving);
  } else if (config.assignment == "auto") {
    std::vector<int64_t> all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    deal(all, 0, experts, taxonomy, masses, serving);
  } else {
    throw UsageError(str("moe: assignment = \"", config.assignment,
                         "\": expected identity, by_stage, table or auto"));
  }
  torch::Tensor assignment_SE = torch::zeros({count, config.experts}, torch::kFloat32);
  auto a = assignment_SE.accessor<float, 2>();
  for (int64_t s = 0; s < count; ++s) {
    const auto& served = serving[static_cast<size_t>(s)];
    for (const int64_t e : served) a[s][e] = 1.0f / static_cast<float>(served.size());
  }
  return assignment_SE;
}

SkillMap make_skill_map(const Config& config, const Taxonomy& taxonomy, const std::vector<double>& mass) {
  SkillMap map;
  map.assignment_SE = make_assignment(config, taxonomy, mass);
  map.stages = static_cast<int64_t>(taxonomy.stages().size());
  std::vector<int64_t> stage;
  for (const auto& skill : taxonomy.skills()) stage.push_back(skill.stage);
  map.skill_stage_S = torch::tensor(stage, torch::kInt64);
  return map;
}

}  // namespace mose::moe
