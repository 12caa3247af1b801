#include "mose/skills/dataset.h"

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::skills {

namespace fs = std::filesystem;

namespace {

// Whether a cut before byte `at` leaves every code point whole.
bool is_boundary(const std::string& text, int64_t at) {
  return at == static_cast<int64_t>(text.size()) ||
         (static_cast<unsigned char>(text[static_cast<size_t>(at)]) & 0xC0) != 0x80;
}

std::pair<int64_t, int64_t> read_range(const Json& json, const std::string& answer,
                                       const std::string& where) {
  const int64_t begin = json_int(json, "begin", where), end = json_int(json, "end", where);
  if (begin < 0 || end < begin || end > static_cast<int64_t>(answer.size()) ||
      !is_boundary(answer, begin) || !is_boundary(answer, end)) {
    throw DataError(str(where, ": fields \"begin\" and \"end\": [", begin, ", ", end,
                        ") is no span of the answer's ", answer.size(), " bytes"));
  }
  return {begin, end};
}

int64_t read_stage(const Json& json, const Taxonomy& taxonomy, const std::string& where) {
  const std::string name = json_string(json, "stage", where);
  const int64_t stage = taxonomy.stage_index(name);
  if (stage < 0) throw DataError(str(where, ": field \"stage\": no stage is named \"", name, "\""));
  return stage;
}

}  // namespace

Json sample_to_json(const Sample& sample, const Taxonomy& taxonomy) {
  const auto stage = [&](int64_t i) { return taxonomy.stages().at(static_cast<size_t>(i)).name; };
  Json segments = Json::array(), labels = Json::array(), objects = Json::array();
  for (const Segment& s : sample.segments) {
    segments.push_back({{"begin", s.begin}, {"end", s.end}, {"stage", stage(s.stage)}});
  }
  for (const Label& l : sample.labels) {
    Json label = {{"begin", l.begin}, {"end", l.end}, {"stage", stage(l.stage)}};
    if (l.skill >= 0) label["skill"] = taxonomy.skills().at(static_cast<size_t>(l.skill)).name;
    label["rule"] = l.rule;
    label["confidence"] = l.confidence;
    labels.push_back(std::move(label));
  }
  for (const RegionTarget& o : sample.objects) {
    objects.push_back({{"box", Json::array({o.box.x, o.box.y, o.box.w, o.box.h})},
                       {"category", o.category},
                       {"description", o.description}});
  }
  Json json = {{"id", sample.id},           {"image", sample.image},       {"form", sample.form},
               {"task", sample.task},       {"question", sample.question}, {"answer", sample.answer},
               {"segments", std::move(segments)}, {"labels", std::move(labels)},
               {"objects", std::move(objects)}};
  if (!sample.region_index.empty()) json["region_index"] = sample.region_index;
  return json;
}

Sample sample_from_json(const Json& json, const Taxonomy& taxonomy, const std::string& where) {
  Sample sample;
  sample.id = json_string(json, "id", where);
  sample.image = json_string(json, "image", where);
  sample.form = json_string(json, "form", where);
  sample.task = json_string(json, "task", where);
  sample.question = json_string(json, "question", where);
  sample.answer = json_string(json, "answer", where);
  if (json.contains("region_index")) sample.region_index = json_string(json, "region_index", where);
  const Json& segments = json_array(json, "segments", where);
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string here = str(where, ": segments[", i, "]");
    const auto [begin, end] = read_range(segments[i], sample.answer, here);
    sample.segments.push_back({begin, end, read_stage(segments[i], taxonomy, here)});
  }
  const Json& labels = json_array(json, "labels", where);
  for (size_t i = 0; i < labels.size(); ++i) {
    const std::string here = str(where, ": labels[", i, "]");
    Label label;
    std::tie(label.begin, label.end) = read_range(labels[i], sample.answer, here);
    label.stage = read_stage(labels[i], taxonomy, here);
    if (labels[i].contains("skill")) {
      const std::string name = json_string(labels[i], "skill", here);
      label.skill = taxonomy.skill_index(name);
      if (label.skill < 0 || taxonomy.skills()[static_cast<size_t>(label.skill)].stage != label.stage) {
        throw DataError(str(here, ": field \"skill\": stage ",
                            taxonomy.stages()[static_cast<size_t>(label.stage)].name,
                            " has no skill named \"", name, "\""));
      }
    }
    label.rule = json_string(labels[i], "rule", here);
    label.confidence = json_number(labels[i], "confidence", here);
    if (!(label.confidence > 0 && label.confidence <= 1)) {
      throw DataError(str(here, ": field \"confidence\": expected a number in (0, 1], found ", label.confidence));
    }
    sample.labels.push_back(std::move(label));
  }
  const Json& objects = json_array(json, "objects", where);
  for (size_t i = 0; i < objects.size(); ++i) {
    const std::string here = str(where, ": objects[", i, "]");
    const Json& box = json_array(objects[i], "box", here);
    double v[4];
    for (size_t k = 0; k < 4; ++k) {
      if (box.size() != 4 || !box[k].is_number()) {
        throw DataError(str(here, ": field \"box\": expected four numbers"));
      }
      v[k] = box[k].get<double>();
    }
    sample.objects.push_back({{v[0], v[1], v[2], v[3]},
                              json_string(objects[i], "category", here),
                              json_string(objects[i], "description", here)});
  }
  return sample;
}

Dataset load_dataset(const fs::path& dir, const std::string& split) {
  Dataset dataset;
  dataset.dir = dir;
  if (!fs::is_directory(dir)) throw DataError(str(dir.string(), ": no such dataset; write one with mose-data prepare"));
  dataset.taxonomy = Taxonomy::load(dir / "skills.json");
  const fs::path meta = dir / "meta.json";
  dataset.root = json_string(load_json(meta), "root", meta.string());
  const std::string name = to_lower(coda::split_name(split));
  const fs::path file = dir / (name + ".jsonl");
  if (!fs::exists(file)) {
    throw DataError(str(file.string(), ": no such file; write it with mose-data prepare --split ", name));
  }
  for_each_line(file, [&](const std::string& text, int64_t line) {
    const std::string where = str(file.string(), ":", line);
    dataset.samples.push_back(sample_from_json(parse_json(text, where), dataset.taxonomy, where));
  });
  return dataset;
}

}  // namespace mose::skills
