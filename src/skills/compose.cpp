// Composes answers from an annotation's own text, with segments and labels.
#include "mose/coda/image_size.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/skills/prepare.h"

namespace mose::skills {

namespace {

namespace fs = std::filesystem;

// An answer under construction.
class Answer {
 public:
  Answer(const Annotator& annotator, Sample& sample) : annotator_(annotator), sample_(sample) {}

  // Ends the segment before; what follows belongs to `stage`, until the next call.
  void begin(int64_t stage) {
    if (!sample_.segments.empty() && sample_.segments.back().stage == stage) return;
    close();
    sample_.segments.push_back({size(), size(), stage});
  }
  void header(int64_t stage) {
    if (size() > 0) sample_.answer += '\n';
    begin(stage);
    const int64_t from = size();
    sample_.answer += annotator_.taxonomy().stages()[static_cast<size_t>(stage)].header;
    sample_.labels.push_back({from, size(), stage, -1, "struct.header", 1.0});
    sample_.answer += '\n';
    fresh_ = true;
  }
  // Appends text after a space where text is before it on the line; returns where it begins.
  int64_t append(const std::string& text) {
    if (size() > 0 && !fresh_) sample_.answer += ' ';
    fresh_ = false;
    const int64_t from = size();
    sample_.answer += text;
    return from;
  }
  void append(const std::string& text, const std::string& rule, std::vector<int64_t> skills,
              double scale = 1) {
    const int64_t from = append(text);
    annotator_.label(sample_.answer, {from, size(), rule, std::move(skills), scale}, sample_.labels);
  }
  void close() {
    if (!sample_.segments.empty()) sample_.segments.back().end = size();
  }
  int64_t size() const { return static_cast<int64_t>(sample_.answer.size()); }

 private:
  const Annotator& annotator_;
  Sample& sample_;
  bool fresh_ = false;
};

struct Composer {
  const coda::Annotation& annotation;
  const Annotator& annotator;
  const PrepareOptions& options;
  std::vector<Known> known;  // the image's descriptions and explanations

  Composer(const coda::Annotation& a, const Annotator& n, const PrepareOptions& o)
      : annotation(a), annotator(n), options(o) {
    for_each_entry([&](const coda::Entry& entry, const std::vector<int64_t>& skills) {
      known.push_back({entry.description, "match.description", skills});
      known.push_back({entry.explanation, "match.explanation", {}});
    });
  }

  template <class Use>
  void for_each_entry(const Use& use) const {
    for (const char* category : coda::kGeneralCategories) {
      const auto it = annotation.general.find(category);
      if (it == annotation.general.end()) continue;
      std::vector<int64_t> skills;
      if (const int64_t skill = annotator.class_skill(category); skill >= 0) skills.push_back(skill);
      for (const coda::Entry& entry : it->second) {
        use({trim(entry.description), trim(entry.explanation)}, skills);
      }
    }
  }

  // What a region's text describes, and what it reasons.
  std::pair<std::string, std::string> cut_region(const coda::Region& region) const {
    const std::string text = trim(region.text);
    const int64_t cut = annotator.reasoning_start(text, 0, static_cast<int64_t>(text.size()));
    return {trim(text.substr(0, static_cast<size_t>(cut))), text.substr(static_cast<size_t>(cut))};
  }

  Sample start(const std::string& name, const std::string& form, const std::string& task) const {
    Sample sample;
    sample.id = annotation.id + "/" + name;
    sample.image = annotation.image.generic_string();
    sample.form = form;
    sample.task = task;
    for (const coda::Region& region : annotation.regions) {
      sample.objects.push_back({region.box, region.category_name, cut_region(region).first});
    }
    return sample;
  }

  Sample scene() const {
    Sample sample = start("single", "single_turn", "scene");
    sample.question = annotator.question("single_turn", "scene");
    Answer answer(annotator, sample);
    std::vector<std::string> scene_sentences;
    for (const Span& span : sentences(annotation.summary)) {
      const std::string sentence(span.of(annotation.summary));
      if (annotator.match(sentence, known).index < 0 && annotator.is_scene(sentence)) {
        scene_sentences.push_back(sentence);
      }
    }
    bool any = false;  // whether the stage's header is written
    const auto part = [&](const std::string& text, const std::string& rule,
                          const std::vector<int64_t>& skills) {
      if (text.empty()) return;
      if (!any) answer.header(annotator.rule_stage(rule));
      any = true;
      answer.append(text, rule, skills);
    };
    for (const std::string& sentence : scene_sentences) part(sentence, "struct.scene", {});
    for_each_entry([&](const coda::Entry& entry, const std::vector<int64_t>& skills) {
      part(entry.description, "struct.description", skills);
    });
    any = false;
    for_each_entry([&](const coda::Entry& entry, const std::vector<int64_t>&) {
      part(entry.explanation, "struct.explanation", {});
    });
    any = false;
    part(trim(annotation.driving_suggestion), "struct.suggestion", {});
    answer.close();
    return sample;
  }

  Sample general() const {
    Sample sample = start("general", "multi_turn", "general_perception");
    sample.question = annotator.question("multi_turn", "general_perception");
    Answer answer(annotator, sample);
    const std::string summary = trim(annotation.summary);
    if (summary.empty()) {
      for (const Known& text : known) {
        if (text.text.empty()) continue;
        const std::string rule = text.rule == "match.description" ? "struct.description" : "struct.explanation";
        answer.begin(annotator.rule_stage(rule));
        answer.append(text.text, rule, text.skills);
      }
      answer.close();
      return sample;
    }
    sample.answer = summary;
    for (const Span& span : sentences(summary)) {
      const std::string_view sentence = span.of(summary);
      const Match match = annotator.match(sentence, known);
      Part part{span.begin, span.end, "struct.scene"};
      if (match.index >= 0) {
        const Known& best = known[static_cast<size_t>(match.index)];
        part = {span.begin, span.end, best.rule, best.skills, match.similarity};
      } else if (!annotator.is_scene(sentence)) {
        continue;  // no label; it stays in the segment before it
      }
      annotator.label(summary, part, sample.labels);
      const int64_t stage = annotator.rule_stage(part.rule);
      if (sample.segments.empty()) {
        sample.segments.push_back({0, 0, stage});
      } else if (sample.segments.back().stage != stage) {
        sample.segments.back().end = span.begin;
        sample.segments.push_back({span.begin, 0, stage});
      }
    }
    if (sample.segments.empty()) sample.segments.push_back({0, 0, 0});
    answer.close();
    return sample;
  }

  Sample suggestion() const {
    Sample sample = start("suggestion", "multi_turn", "driving_suggestion");
    sample.question = annotator.question("multi_turn", "driving_suggestion");
    Answer answer(annotator, sample);
    answer.begin(annotator.rule_stage("struct.suggestion"));
    answer.append(trim(annotation.driving_suggestion), "struct.suggestion", {});
    answer.close();
    return sample;
  }

  // The picture with the red rectangle, or the box in words.
  void ask_region(Sample& sample, const coda::Region& region) const {
    sample.region_index = region.index;
    const fs::path marked = annotation.image.parent_path().parent_path() / "images_w_boxes" /
                            str(annotation.image.stem().string(), "_object_", region.index, ".jpg");
    if (options.root.empty() || fs::is_regular_file(options.root / marked)) {
      sample.image = marked.generic_string();
      sample.question = annotator.question(sample.form, "region_perception");
      return;
    }
    const coda::ImageSize size = coda::image_size(options.root / annotation.image);
    const coda::Box& box = region.box;
    const double w = static_cast<double>(size.width), h = static_cast<double>(size.height);
    std::string question = annotator.question(sample.form, "region_perception_box");
    question = replace_all(question, "{x1}", fixed(box.x / w, 3));
    question = replace_all(question, "{y1}", fixed(box.y / h, 3));
    question = replace_all(question, "{x2}", fixed((box.x + box.w) / w, 3));
    sample.question = replace_all(question, "{y2}", fixed((box.y + box.h) / h, 3));
  }

  Sample single_region(const coda::Region& region) const {
    Sample sample = start("single_region/" + region.index, "single_turn", "region_perception");
    ask_region(sample, region);
    Answer answer(annotator, sample);
    const auto [description, reasoning] = cut_region(region);
    std::vector<int64_t> skills = annotator.region_skills(region.category_name);
    answer.header(annotator.rule_stage("struct.region"));
    answer.append(description, "struct.region", skills);
    if (!reasoning.empty()) {
      answer.header(annotator.rule_stage("struct.region_reason"));
      answer.append(reasoning, "struct.region_reason", {});
    }
    answer.close();
    return sample;
  }

  Sample region(const coda::Region& region) const {
    Sample sample = start("region/" + region.index, "multi_turn", "region_perception");
    ask_region(sample, region);
    LabelledText labelled = label_answer(annotator, trim(region.text), "region_perception", region.category_name);
    sample.answer = std::move(labelled.text);
    sample.segments = std::move(labelled.segments);
    sample.labels = std::move(labelled.labels);
    return sample;
  }
};

}  // namespace

std::vector<Sample> make_samples(const coda::Annotation& annotation, const Annotator& annotator,
                                 const PrepareOptions& options) {
  const Composer compose(annotation, annotator, options);
  std::vector<Sample> samples;
  if (options.single_turn) {
    samples.push_back(compose.scene());
    if (options.regions) {
      for (const coda::Region& region : annotation.regions) samples.push_back(compose.single_region(region));
    }
  }
  if (options.multi_turn) {
    samples.push_back(compose.general());
    if (options.regions) {
      for (const coda::Region& region : annotation.regions) samples.push_back(compose.region(region));
    }
    samples.push_back(compose.suggestion());
  }
  for (const Sample& sample : samples) {
    if (sample.answer.empty()) {
      throw DataError(str(annotation.file.string(), ": sample ", sample.id, ": the answer is empty"));
    }
  }
  return samples;
}

std::vector<Sample> make_samples(const coda::Annotation& annotation, const Taxonomy& taxonomy,
                                 const PrepareOptions& options) {
  return make_samples(annotation, Annotator(taxonomy), options);
}

}  // namespace mose::skills
