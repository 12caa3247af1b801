// From CODA-LM annotations to the skill dataset.
//
//   const Taxonomy taxonomy = Taxonomy::load(resource("skills/driving.json"));
//   prepare("CODA", "train", "data", taxonomy, {});
//   Dataset dataset = load_dataset("data", "train");
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mose/coda/annotation.h"
#include "mose/skills/annotator.h"
#include "mose/skills/dataset.h"
#include "mose/skills/taxonomy.h"

namespace mose::skills {

struct PrepareOptions {
  bool single_turn = true, multi_turn = true;  // which forms to write
  bool regions = true;                         // also samples of single regions
  bool skip_bad = false;                       // leave out what is malformed, and list it
  // Where the images are, to see whether pictures with a red rectangle exist; set by prepare().
  // Empty: they are taken to exist.
  std::filesystem::path root;
};

// The samples of one annotated image.
//   <id>/single             D: scene sentences and every description, R: explanations, P: suggestion
//   <id>/single_region/K    "Description:" and "Reasoning:" of region K
//   <id>/general, <id>/suggestion, <id>/region/K   the multi-turn form, without headers
// A region's image is the copy with a red rectangle; where there is none, the original image with
// the box in the question.
std::vector<Sample> make_samples(const coda::Annotation& annotation, const Annotator& annotator,
                                 const PrepareOptions& options);
std::vector<Sample> make_samples(const coda::Annotation& annotation, const Taxonomy& taxonomy,
                                 const PrepareOptions& options);

struct Skipped {
  std::string file, reason;
};

struct PrepareReport {
  int64_t samples = 0;      // written
  int64_t annotations = 0;  // read and good
  std::map<std::string, int64_t> by_task;  // "single_turn/scene" -> samples
  std::vector<Skipped> skipped;
};

// Reads ROOT/CODA-LM/<Split>/*.json and writes OUT/<split>.jsonl, OUT/skills.json and
// OUT/meta.json; several splits may share OUT. The first malformed annotation or missing image is a
// DataError, or with skip_bad an entry of the report, of meta.json and a warning. UsageError when
// OUT holds splits of another root or taxonomy.
PrepareReport prepare(const std::filesystem::path& root, const std::string& split,
                      const std::filesystem::path& out, const Taxonomy& taxonomy,
                      const PrepareOptions& options);

}  // namespace mose::skills
