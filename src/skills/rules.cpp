// Reads the annotator's rules out of the taxonomy's file, and checks them.
#include <set>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/skills/annotator.h"

namespace mose::skills {

namespace {

std::vector<std::string> read_strings(const Json& json, const std::string& key,
                                      const std::string& where) {
  std::vector<std::string> out;
  const Json& list = json_array(json, key, where);
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_string()) {
      throw DataError(str(where, ": field \"", key, "\"[", i, "]: expected a string, found ",
                          list[i].type_name()));
    }
    out.push_back(list[i].get<std::string>());
  }
  return out;
}

std::vector<Phrase> read_phrases(const Json& json, const std::string& key,
                                 const std::string& where) {
  std::vector<Phrase> out;
  try {
    for (const std::string& text : read_strings(json, key, where)) out.emplace_back(text);
  } catch (const DataError& e) {
    throw DataError(str(where, ": field \"", key, "\": ", e.what()));
  }
  if (out.empty()) throw DataError(str(where, ": field \"", key, "\": the list is empty"));
  return out;
}

double read_share(const Json& json, const std::string& key, const std::string& where) {
  const double value = json_number(json, key, where);
  if (!(value > 0 && value <= 1)) {
    throw DataError(str(where, ": field \"", key, "\": expected a number in (0, 1], found ", value));
  }
  return value;
}

int64_t read_skill(const Taxonomy& taxonomy, const std::string& name, const std::string& where) {
  const int64_t index = taxonomy.skill_index(name);
  if (index >= 0) return index;
  std::vector<std::string> names;
  for (const Skill& skill : taxonomy.skills()) names.push_back(skill.name);
  const std::string near = nearest_name(name, names);
  throw DataError(str(where, ": no skill is named \"", name, "\"",
                      near.empty() ? "" : str(", nearest is \"", near, "\"")));
}

std::map<std::string, int64_t> read_skill_map(const Taxonomy& taxonomy, const std::string& key,
                                              const std::string& where) {
  std::map<std::string, int64_t> out;
  for (const auto& [name, value] : json_object(taxonomy.to_json(), key, where).items()) {
    const std::string here = str(where, ": ", key, ".", name);
    if (!value.is_string()) throw DataError(str(here, ": expected a string, found ", value.type_name()));
    out[name] = read_skill(taxonomy, value.get<std::string>(), here);
  }
  return out;
}

// The structure rules that the code speaks of; a file may change their confidence and stage.
constexpr const char* kStructureRules[] = {
    "struct.header", "struct.description",   "struct.explanation", "struct.suggestion", "struct.region",
    "struct.region_reason", "struct.scene", "match.description",  "match.explanation"};

}  // namespace

void Annotator::read_rules(const std::string& where) {
  const Json& json = taxonomy_.to_json();
  std::set<std::string> ids;
  const auto new_id = [&](const Json& rule, const std::string& here) {
    const std::string id = json_string(rule, "id", here);
    if (!ids.insert(id).second) throw DataError(str(here, ": field \"id\": \"", id, "\" comes twice"));
    return id;
  };
  const Json& structure = json_array(json, "structure_rules", where);
  for (size_t i = 0; i < structure.size(); ++i) {
    const std::string here = str(where, ": structure_rules[", i, "]");
    StructureRule rule;
    rule.id = new_id(structure[i], here);
    rule.confidence = read_share(structure[i], "confidence", here);
    if (rule.id != "struct.header") {
      const std::string stage = json_string(structure[i], "stage", here);
      rule.stage = taxonomy_.stage_index(stage);
      if (rule.stage < 0) throw DataError(str(here, ": field \"stage\": no stage is named \"", stage, "\""));
    }
    structure_.push_back(rule);
  }
  const std::set<std::string> known(std::begin(kStructureRules), std::end(kStructureRules));
  for (const std::string& id : ids) {
    if (!known.count(id)) throw DataError(str(where, ": structure_rules: unknown rule \"", id, "\""));
  }
  for (const std::string& id : known) {
    if (!ids.count(id)) throw DataError(str(where, ": structure_rules: rule \"", id, "\" is missing"));
  }
  const Json& lexicons = json_array(json, "lexicon_rules", where);
  for (size_t i = 0; i < lexicons.size(); ++i) {
    const std::string here = str(where, ": lexicon_rules[", i, "]");
    LexiconRule rule;
    rule.id = new_id(lexicons[i], here);
    rule.skill = read_skill(taxonomy_, json_string(lexicons[i], "skill", here), here);
    rule.confidence = read_share(lexicons[i], "confidence", here);
    const std::string unit = json_string(lexicons[i], "unit", here);
    if (unit != "clause" && unit != "sentence") {
      throw DataError(str(here, ": field \"unit\": expected \"clause\" or \"sentence\", found \"", unit, "\""));
    }
    rule.clause = unit == "clause";
    if (lexicons[i].contains("unless_class")) {
      const Json& flag = lexicons[i]["unless_class"];
      if (!flag.is_boolean()) throw DataError(str(here, ": field \"unless_class\": expected true or false"));
      rule.unless_class = flag.get<bool>();
    }
    rule.phrases = read_phrases(lexicons[i], "phrases", here);
    lexicons_.push_back(std::move(rule));
  }
  causal_ = read_phrases(json, "causal_cues", where);
  scene_ = read_phrases(json, "scene_cues", where);
  ignored_ = read_phrases(json, "ignored_phrases", where);
  for (const std::string& text : read_strings(json, "ignored_phrases", where)) {
    if (text.find('~') != std::string::npos) {
      throw DataError(str(where, ": field \"ignored_phrases\": \"", text, "\": no ~ is allowed here"));
    }
  }
  breaks_ = read_strings(json, "clause_breaks", where);
  stop_words_ = read_strings(json, "stop_words", where);
  match_threshold_ = read_share(json, "match_threshold", where);
  unstructured_ = read_share(json, "unstructured_confidence", where);
  categories_ = read_skill_map(taxonomy_, "categories", where);
  region_classes_ = read_skill_map(taxonomy_, "region_classes", where);
  region_skill_ = read_skill(taxonomy_, json_string(json, "region_skill", where),
                             str(where, ": field \"region_skill\""));
  for (const char* form : {"single_turn", "multi_turn"}) {
    json_object(json_object(json, "questions", where), form, str(where, ": questions"));
  }
}

std::vector<std::string> Annotator::rule_ids() const {
  std::vector<std::string> ids;
  for (const StructureRule& rule : structure_) ids.push_back(rule.id);
  for (const LexiconRule& rule : lexicons_) ids.push_back(rule.id);
  return ids;
}

std::string Annotator::question(const std::string& form, const std::string& task) const {
  const Json& questions = json_object(taxonomy_.to_json(), "questions", "taxonomy");
  return json_string(json_object(questions, form, "taxonomy: questions"), task,
                     str("taxonomy: questions.", form));
}

}  // namespace mose::skills
