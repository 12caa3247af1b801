#include "mose/skills/annotator.h"

#include <algorithm>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::skills {

Annotator::Annotator(Taxonomy taxonomy, const std::string& where) : taxonomy_(std::move(taxonomy)) {
  read_rules(where);
}

const Annotator::StructureRule& Annotator::structure(const std::string& id) const {
  for (const StructureRule& rule : structure_) {
    if (rule.id == id) return rule;
  }
  throw UsageError(str("no structure rule is named \"", id, "\""));
}

int64_t Annotator::rule_stage(const std::string& structure_rule) const {
  return structure(structure_rule).stage;
}

void Annotator::label(const std::string& text, const Part& part, std::vector<Label>& labels) const {
  if (part.begin >= part.end) return;
  const StructureRule& rule = structure(part.rule);
  const double confidence = rule.confidence * part.scale;
  labels.push_back({part.begin, part.end, rule.stage, -1, rule.id, confidence});
  bool has_class = false;
  for (const int64_t skill : part.skills) {
    labels.push_back({part.begin, part.end, rule.stage, skill, rule.id, confidence});
    has_class |= skill != region_skill_;
  }
  lexicons(text, {part.begin, part.end}, rule.stage, has_class, 1, labels);
}

void Annotator::label_stage(const std::string& text, const HeaderSlice& slice,
                            std::vector<Label>& labels) const {
  const StructureRule& rule = structure("struct.header");
  labels.push_back({slice.begin, slice.end, slice.stage, -1, rule.id, rule.confidence});
  lexicons(text, {slice.text, slice.end}, slice.stage, false, 1, labels);
}

void Annotator::label_unstructured(const std::string& text, int64_t begin, int64_t end,
                                   std::vector<Label>& labels) const {
  lexicons(text, {begin, end}, -1, false, unstructured_, labels);
}

void Annotator::lexicons(const std::string& text, Span part, int64_t stage, bool has_class,
                         double scale, std::vector<Label>& labels) const {
  for (Span sentence : sentences(part.of(text))) {
    sentence = {part.begin + sentence.begin, part.begin + sentence.end};
    const std::vector<Span> units = clauses(text, sentence, breaks_);
    std::vector<std::vector<Word>> unit_words;
    for (const Span& unit : units) unit_words.push_back(without(words(unit.of(text)), ignored_));
    const std::vector<Word> sentence_words = without(words(sentence.of(text)), ignored_);
    for (const LexiconRule& rule : lexicons_) {
      const int64_t rule_stage = taxonomy_.skills()[static_cast<size_t>(rule.skill)].stage;
      if ((stage >= 0 && rule_stage != stage) || (rule.unless_class && has_class)) continue;
      const auto add = [&](Span span) {
        labels.push_back({span.begin, span.end, rule_stage, rule.skill, rule.id, rule.confidence * scale});
      };
      if (!rule.clause) {
        if (find_any(rule.phrases, sentence_words) >= 0) add(sentence);
        continue;
      }
      for (size_t i = 0; i < units.size(); ++i) {
        if (find_any(rule.phrases, unit_words[i]) >= 0) add(units[i]);
      }
    }
  }
}

int64_t Annotator::reasoning_start(const std::string& text, int64_t begin, int64_t end) const {
  const Span whole{begin, end};
  bool first_sentence = true;
  for (Span sentence : sentences(whole.of(text))) {
    sentence = {begin + sentence.begin, begin + sentence.end};
    if (!first_sentence && find_any(causal_, words(sentence.of(text))) >= 0) return sentence.begin;
    // The first sentence opens with what the object is, even where a cue is near.
    const std::vector<Span> parts = clauses(text, sentence, breaks_);
    for (size_t i = 1; first_sentence && i < parts.size(); ++i) {
      if (find_any(causal_, words(parts[i].of(text))) >= 0) return parts[i].begin;
    }
    first_sentence = false;
  }
  return end;
}

int64_t Annotator::label_region(const std::string& text, int64_t begin, int64_t end,
                                const std::string& category, std::vector<Label>& labels) const {
  const int64_t cut = reasoning_start(text, begin, end);
  int64_t description_end = cut;
  while (description_end > begin && text[static_cast<size_t>(description_end - 1)] == ' ') {
    --description_end;
  }
  label(text, {begin, description_end, "struct.region", region_skills(category)}, labels);
  label(text, {cut, end, "struct.region_reason"}, labels);
  return cut;
}

Match Annotator::match(std::string_view sentence, const std::vector<Known>& candidates) const {
  Match best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const std::string& text = candidates[i].text;
    double value = similarity(sentence, text, stop_words_);
    for (const Span& part : sentences(text)) {
      value = std::max(value, similarity(sentence, part.of(text), stop_words_));
    }
    if (value > best.similarity) best = {static_cast<int64_t>(i), value};
  }
  if (best.similarity < match_threshold_) best.index = -1;
  return best;
}

bool Annotator::is_scene(std::string_view sentence) const {
  const std::vector<Word> found = words(sentence);
  return find_any(scene_, found) >= 0 && find_any(causal_, found) < 0;
}

int64_t Annotator::class_skill(const std::string& general_category) const {
  const auto it = categories_.find(general_category);
  return it == categories_.end() ? -1 : it->second;
}

std::vector<int64_t> Annotator::region_skills(const std::string& category_name) const {
  std::vector<int64_t> skills = {region_skill_};
  if (const int64_t skill = region_class_skill(category_name); skill >= 0) skills.push_back(skill);
  return skills;
}

int64_t Annotator::region_class_skill(const std::string& category_name) const {
  const auto it = region_classes_.find(coda::region_class(category_name));
  return it == region_classes_.end() ? -1 : it->second;
}

LabelledText label_answer(const Annotator& annotator, const std::string& answer,
                          const std::string& task, const std::string& category) {
  LabelledText out{answer, {}, {}};
  const int64_t size = static_cast<int64_t>(answer.size());
  const auto slices = slice_answer(answer, annotator.taxonomy());
  const bool headers = std::any_of(slices.begin(), slices.end(),
                                   [](const HeaderSlice& slice) { return slice.text > slice.begin; });
  if (headers) {
    for (const HeaderSlice& slice : slices) {
      out.segments.push_back({slice.begin, slice.end, slice.stage});
      annotator.label_stage(answer, slice, out.labels);
    }
  } else if (task == "driving_suggestion") {
    out.segments.push_back({0, size, annotator.rule_stage("struct.suggestion")});
    annotator.label(answer, {0, size, "struct.suggestion"}, out.labels);
  } else if (task == "region_perception") {
    const int64_t cut = annotator.label_region(answer, 0, size, category, out.labels);
    out.segments.push_back({0, cut, annotator.rule_stage("struct.region")});
    if (cut < size) out.segments.push_back({cut, size, annotator.rule_stage("struct.region_reason")});
  } else if (task.empty() || task == "general_perception" || task == "scene") {
    annotator.label_unstructured(answer, 0, size, out.labels);
  } else {
    throw UsageError(str("task \"", task, "\": expected scene, ", coda::kTasks[0], ", ",
                         coda::kTasks[1], " or ", coda::kTasks[2]));
  }
  return out;
}

}  // namespace mose::skills
