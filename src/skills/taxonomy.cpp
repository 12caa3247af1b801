#include "mose/skills/taxonomy.h"

#include <set>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::skills {

Taxonomy Taxonomy::load(const std::filesystem::path& file) {
  return from_json(load_json(file), file.string());
}

Taxonomy Taxonomy::from_json(const Json& json, const std::string& where) {
  Taxonomy taxonomy;
  taxonomy.json_ = json;
  const Json& stages = json_array(json, "stages", where);
  std::set<std::string> headers;
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string here = str(where, ": stages[", i, "]");
    const Stage stage{json_string(stages[i], "name", here), json_string(stages[i], "header", here)};
    if (stage.name.empty() || taxonomy.stage_index(stage.name) >= 0) {
      throw DataError(str(here, ": field \"name\": expected a new name, found \"", stage.name, "\""));
    }
    if (trim(stage.header) != stage.header || stage.header.empty() ||
        stage.header.find('\n') != std::string::npos || !headers.insert(stage.header).second) {
      throw DataError(str(here, ": field \"header\": expected one line of its own, found \"",
                          stage.header, "\""));
    }
    taxonomy.stages_.push_back(stage);
  }
  const Json& skills = json_array(json, "skills", where);
  for (size_t i = 0; i < skills.size(); ++i) {
    const std::string here = str(where, ": skills[", i, "]");
    const std::string name = json_string(skills[i], "name", here);
    const std::string stage = json_string(skills[i], "stage", here);
    if (name.empty() || taxonomy.skill_index(name) >= 0) {
      throw DataError(str(here, ": field \"name\": expected a new name, found \"", name, "\""));
    }
    const int64_t index = taxonomy.stage_index(stage);
    if (index < 0) throw DataError(str(here, ": field \"stage\": no stage is named \"", stage, "\""));
    taxonomy.skills_.push_back({name, index});
  }
  if (taxonomy.stages_.empty()) throw DataError(str(where, ": field \"stages\": the list is empty"));
  for (size_t s = 0; s < taxonomy.stages_.size(); ++s) {
    bool found = false;
    for (const Skill& skill : taxonomy.skills_) found |= skill.stage == static_cast<int64_t>(s);
    if (!found) {
      throw DataError(str(where, ": field \"skills\": stage \"", taxonomy.stages_[s].name,
                          "\" has no skill"));
    }
  }
  return taxonomy;
}

int64_t Taxonomy::stage_index(const std::string& name) const {
  for (size_t i = 0; i < stages_.size(); ++i) {
    if (stages_[i].name == name) return static_cast<int64_t>(i);
  }
  return -1;
}

int64_t Taxonomy::skill_index(const std::string& name) const {
  for (size_t i = 0; i < skills_.size(); ++i) {
    if (skills_[i].name == name) return static_cast<int64_t>(i);
  }
  return -1;
}

std::vector<HeaderSlice> slice_answer(const std::string& answer, const Taxonomy& taxonomy) {
  std::vector<HeaderSlice> slices;
  for (size_t line = 0; line < answer.size();) {
    const size_t newline = answer.find('\n', line);
    const size_t next = newline == std::string::npos ? answer.size() : newline + 1;
    const size_t start = answer.find_first_not_of(" \t", line);
    for (size_t stage = 0; start != std::string::npos && stage < taxonomy.stages().size(); ++stage) {
      const std::string& header = taxonomy.stages()[stage].header;
      if (answer.compare(start, header.size(), header) != 0) continue;
      if (!slices.empty()) slices.back().end = static_cast<int64_t>(line);
      slices.push_back({static_cast<int64_t>(stage), static_cast<int64_t>(line),
                        static_cast<int64_t>(start + header.size()),
                        static_cast<int64_t>(answer.size())});
    }
    line = next;
  }
  const int64_t first = slices.empty() ? static_cast<int64_t>(answer.size()) : slices.front().begin;
  if (!trim(answer.substr(0, static_cast<size_t>(first))).empty()) {
    slices.insert(slices.begin(), {0, 0, 0, first});
  }
  return slices;
}

std::vector<std::string> split_answer(const std::string& answer, const Taxonomy& taxonomy) {
  std::vector<std::string> parts(taxonomy.stages().size());
  for (const HeaderSlice& slice : slice_answer(answer, taxonomy)) {
    const std::string text = trim(answer.substr(static_cast<size_t>(slice.text),
                                                static_cast<size_t>(slice.end - slice.text)));
    std::string& part = parts[static_cast<size_t>(slice.stage)];
    part += part.empty() || text.empty() ? text : "\n" + text;
  }
  return parts;
}

}  // namespace mose::skills
