// The skill dataset: questions and answers with spans labelled by stage and skill.
//
// On disk: OUT/<split>.jsonl (one Sample a line), OUT/skills.json (the taxonomy with its rules),
// OUT/meta.json (the source root as "root", counts, skipped files).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/coda/annotation.h"
#include "mose/core/json.h"
#include "mose/skills/taxonomy.h"

namespace mose::skills {

// Byte offsets into the answer, [begin, end).
struct Label {
  int64_t begin = 0, end = 0;
  int64_t stage = -1;       // index into the taxonomy's stages
  int64_t skill = -1;       // index into its skills; -1 for a stage-level label
  std::string rule;         // which rule gave it
  double confidence = 1.0;  // (0, 1]
};

// The part of the answer that belongs to one stage, header included.
struct Segment {
  int64_t begin = 0, end = 0;
  int64_t stage = 0;
};

struct RegionTarget {
  coda::Box box;  // pixels of the original image
  std::string category;
  std::string description;  // what the region's annotation says of its looks; may be empty
};

struct Sample {
  std::string id;        // "val_0001/single", "val_0001/region/2", "val_0001/general", ...
  std::string image;     // relative to the root
  std::string form;      // "single_turn" or "multi_turn"
  std::string task;      // "scene" (the single turn D, R, P), or one of coda::kTasks
  std::string question;  // without image placeholder and chat template
  std::string answer;
  std::vector<Segment> segments;
  std::vector<Label> labels;
  std::vector<RegionTarget> objects;  // every annotated region of the image
  std::string region_index;           // region samples only
};

Json sample_to_json(const Sample& sample, const Taxonomy& taxonomy);
Sample sample_from_json(const Json& json, const Taxonomy& taxonomy, const std::string& where);

struct Dataset {
  std::filesystem::path dir;   // of the dataset
  std::filesystem::path root;  // images are relative to this
  Taxonomy taxonomy;
  std::vector<Sample> samples;
};

// DataError names the file and line.
Dataset load_dataset(const std::filesystem::path& dir, const std::string& split);

}  // namespace mose::skills
