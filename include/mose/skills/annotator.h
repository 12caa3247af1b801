// The rule annotator: labels from the structure of the data first (which field a text comes from),
// refined to skills by lexicons. All its rules are in the taxonomy's file.
//
//   Annotator annotator(Taxonomy::load(resource("skills/driving.json")));
//   LabelledText text = label_answer(annotator, "Slow down and keep right.", "driving_suggestion");
//   for (const Label& label : text.labels) ...
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "mose/skills/dataset.h"
#include "mose/skills/phrases.h"
#include "mose/skills/taxonomy.h"

namespace mose::skills {

// Bytes [begin, end) of a text of which the structure is known.
struct Part {
  int64_t begin = 0, end = 0;
  std::string rule;             // the structure rule that knows it: "struct.description"
  std::vector<int64_t> skills;  // skills known by structure, for example the object's class
  double scale = 1;             // of the confidence, for rules that match approximately
};

// A text of the image's own annotation with what is known about it.
struct Known {
  std::string text;
  std::string rule;  // "match.description" or "match.explanation"
  std::vector<int64_t> skills;
};

struct Match {
  int64_t index = -1;     // into the candidates; -1 below the threshold
  double similarity = 0;  // of the best candidate
};

class Annotator {
 public:
  // DataError names `where` and the key when the taxonomy's rules are missing or malformed.
  explicit Annotator(Taxonomy taxonomy, const std::string& where = "taxonomy");

  const Taxonomy& taxonomy() const { return taxonomy_; }

  // Adds the stage and skills that the structure gives, then the skills of that stage whose
  // lexicons match, clause by clause or sentence by sentence. Class lexicons stay out where the
  // structure knows the class.
  void label(const std::string& text, const Part& part, std::vector<Label>& labels) const;
  // A part of an answer under its header: the stage by the header (struct.header), skills by lexicons.
  void label_stage(const std::string& text, const HeaderSlice& slice,
                   std::vector<Label>& labels) const;
  // Text of unknown structure: lexicons of every stage, at a lower confidence.
  void label_unstructured(const std::string& text, int64_t begin, int64_t end,
                          std::vector<Label>& labels) const;

  // Region text up to the first causal cue describes, the rest reasons. The cut is where the cue's
  // sentence begins, or in the first sentence its clause (never the opening one). Returns a byte in
  // (begin, end]; `end` when there is no cue.
  int64_t reasoning_start(const std::string& text, int64_t begin, int64_t end) const;
  // Labels region text; returns reasoning_start().
  int64_t label_region(const std::string& text, int64_t begin, int64_t end,
                       const std::string& category, std::vector<Label>& labels) const;

  // The best of `candidates` (each compared as a whole and sentence by sentence) for a sentence.
  Match match(std::string_view sentence, const std::vector<Known>& candidates) const;
  // Whether a sentence speaks of the scene (weather, time of day, kind of road) and gives no cause.
  bool is_scene(std::string_view sentence) const;

  // -1 when the taxonomy has no such skill for CODA's name.
  int64_t class_skill(const std::string& general_category) const;
  int64_t region_class_skill(const std::string& category_name) const;
  // What the description of a region teaches: region_reference, and its class where it is known.
  std::vector<int64_t> region_skills(const std::string& category_name) const;
  int64_t rule_stage(const std::string& structure_rule) const;

  // Every rule's id, structure rules first.
  std::vector<std::string> rule_ids() const;
  // The wording of a question, for form "single_turn" or "multi_turn"; DataError when there is none.
  std::string question(const std::string& form, const std::string& task) const;

 private:
  struct StructureRule {
    std::string id;
    int64_t stage = -1;
    double confidence = 1;
  };
  struct LexiconRule {
    std::string id;
    int64_t skill = -1;
    bool clause = true;         // else the whole sentence
    bool unless_class = false;  // only where the structure gives no class
    double confidence = 1;
    std::vector<Phrase> phrases;
  };
  void read_rules(const std::string& where);
  const StructureRule& structure(const std::string& id) const;
  void lexicons(const std::string& text, Span part, int64_t stage, bool has_class, double scale,
                std::vector<Label>& labels) const;

  Taxonomy taxonomy_;
  std::vector<StructureRule> structure_;
  std::vector<LexiconRule> lexicons_;
  std::vector<Phrase> causal_, scene_, ignored_;
  std::vector<std::string> breaks_, stop_words_;
  std::map<std::string, int64_t> categories_, region_classes_;
  int64_t region_skill_ = -1;
  double match_threshold_ = 0.6, unstructured_ = 0.5;
};

struct LabelledText {
  std::string text;
  std::vector<Segment> segments;
  std::vector<Label> labels;
};

// Labels an answer by itself. Headers give its stages; without them `task` (one of coda::kTasks)
// does, with the object's `category` for regions; without either only lexicons speak.
LabelledText label_answer(const Annotator& annotator, const std::string& answer,
                          const std::string& task = "", const std::string& category = "");

}  // namespace mose::skills
