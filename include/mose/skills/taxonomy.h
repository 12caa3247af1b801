// The skill taxonomy is data: stages (describe, reason, plan) and the skills of each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::skills {

struct Stage {
  std::string name;    // "describe"
  std::string header;  // the line that opens the stage's part of a single-turn answer: "Description:"
};

struct Skill {
  std::string name;   // "collision_risk"
  int64_t stage = 0;  // index into stages
};

class Taxonomy {
 public:
  // DataError names the file and key on duplicates, unknown stages or missing parts.
  static Taxonomy load(const std::filesystem::path& file);
  static Taxonomy from_json(const Json& json, const std::string& where);
  const Json& to_json() const { return json_; }  // the whole file, rules included

  const std::vector<Stage>& stages() const { return stages_; }
  const std::vector<Skill>& skills() const { return skills_; }
  // -1 when there is none of that name.
  int64_t stage_index(const std::string& name) const;
  int64_t skill_index(const std::string& name) const;

 private:
  std::vector<Stage> stages_;
  std::vector<Skill> skills_;
  Json json_;
};

// A stage's part of an answer, in bytes: [begin, text) is the header, [text, end) what follows it.
struct HeaderSlice {
  int64_t stage = 0;
  int64_t begin = 0, text = 0, end = 0;
};

// The parts of an answer in the order they come. A header opens a line; text may follow it there.
// Text before the first header is a slice of the first stage with an empty header.
std::vector<HeaderSlice> slice_answer(const std::string& answer, const Taxonomy& taxonomy);

// Slices a single-turn answer at the stages' header lines. Result i is stage i's text without its
// header, "" when the answer lacks it. Text before the first header counts to the first stage;
// a stage that comes twice has its parts joined by a line break.
std::vector<std::string> split_answer(const std::string& answer, const Taxonomy& taxonomy);

}  // namespace mose::skills
