#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "../coda/fixture.h"
#include "mose/core/resources.h"
#include "mose/skills/annotator.h"
#include "mose/skills/prepare.h"

namespace mose::test {

inline const skills::Annotator& annotator() {
  static const skills::Annotator one(skills::Taxonomy::load(resource("skills/driving.json")));
  return one;
}
inline const skills::Taxonomy& taxonomy() { return annotator().taxonomy(); }

inline coda::Annotation annotation() { return coda::parse_annotation(annotation_json(), "val_0001.json"); }

// The samples of annotation() or of another one, pictures with rectangles taken to exist.
inline std::vector<skills::Sample> samples(const coda::Annotation& a = annotation()) {
  return skills::make_samples(a, annotator(), {});
}

inline const skills::Sample& sample(const std::vector<skills::Sample>& all, const std::string& id) {
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.id == id; });
  if (it == all.end()) throw std::out_of_range("no sample " + id);
  return *it;
}

inline std::string text_of(const std::string& answer, int64_t begin, int64_t end) {
  return answer.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

// "stage/skill: text" of every label of one rule ("-" for a label of the stage alone).
inline std::vector<std::string> labels_of(const std::string& answer, const std::vector<skills::Label>& labels,
                                          const std::string& rule) {
  std::vector<std::string> out;
  for (const skills::Label& label : labels) {
    if (label.rule != rule) continue;
    const std::string skill = label.skill < 0 ? "-" : taxonomy().skills()[static_cast<size_t>(label.skill)].name;
    out.push_back(taxonomy().stages()[static_cast<size_t>(label.stage)].name + "/" + skill + ": " +
                  text_of(answer, label.begin, label.end));
  }
  return out;
}

}  // namespace mose::test
