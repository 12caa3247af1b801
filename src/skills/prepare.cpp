#include "mose/skills/prepare.h"

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"
#include "mose/core/signals.h"
#include "mose/core/strings.h"

namespace mose::skills {

namespace fs = std::filesystem;

namespace {

std::vector<Sample> samples_of(const fs::path& file, const fs::path& root,
                               const Annotator& annotator, const PrepareOptions& options) {
  const coda::Annotation annotation = coda::load_annotation(file);
  if (!fs::is_regular_file(root / annotation.image)) {
    throw DataError(str(file.string(), ": its image ", (root / annotation.image).string(), " is missing"));
  }
  return make_samples(annotation, annotator, options);
}

// The meta.json of OUT as far as other splits wrote it.
Json existing_meta(const fs::path& out, const std::string& split, const std::string& root,
                   const Taxonomy& taxonomy) {
  const fs::path file = out / "meta.json";
  if (!fs::exists(file)) return {{"root", root}, {"splits", Json::object()}};
  Json meta = load_json(file);
  Json splits = json_object(meta, "splits", file.string());
  splits.erase(split);
  if (!splits.empty()) {
    const std::string other = json_string(meta, "root", file.string());
    if (other != root) {
      throw UsageError(str(out.string(), ": holds splits prepared from ", other, ", not from ", root,
                           "; choose another --out"));
    }
    if (load_json(out / "skills.json") != taxonomy.to_json()) {
      throw UsageError(str(out.string(), ": holds splits prepared with another taxonomy; choose another --out"));
    }
  }
  meta["root"] = root;
  meta["splits"] = std::move(splits);
  return meta;
}

}  // namespace

PrepareReport prepare(const fs::path& root, const std::string& split, const fs::path& out,
                      const Taxonomy& taxonomy, const PrepareOptions& options) {
  if (!options.single_turn && !options.multi_turn) {
    throw UsageError("prepare: neither the single-turn nor the multi-turn form is asked for");
  }
  const std::vector<fs::path> files = coda::list_annotations(root, split);
  const Annotator annotator(taxonomy);
  const std::string name = to_lower(coda::split_name(split));
  const std::string source = fs::canonical(root).string();
  Json meta = existing_meta(out, name, source, taxonomy);
  PrepareOptions with_root = options;
  with_root.root = root;

  PrepareReport report;
  AtomicFile lines(out / (name + ".jsonl"));
  {
    Progress progress("prepare " + name, static_cast<int64_t>(files.size()), "annotations");
    for (const fs::path& file : files) {
      throw_if_stopped();
      progress.advance();
      std::vector<Sample> samples;
      try {
        samples = samples_of(file, root, annotator, with_root);
      } catch (const DataError& e) {
        if (!options.skip_bad) throw;
        report.skipped.push_back({file.string(), e.what()});
        continue;
      }
      ++report.annotations;
      for (const Sample& sample : samples) {
        lines.write(sample_to_json(sample, taxonomy).dump() + "\n");
        ++report.samples;
        ++report.by_task[sample.form + "/" + sample.task];
      }
    }
  }
  for (const Skipped& item : report.skipped) log::warn("left out: ", item.reason);
  if (report.annotations == 0) {
    throw DataError(str(root.string(), ": no annotation of split ", name, " is good; all ", files.size(),
                        " were left out"));
  }
  Json skipped = Json::array();
  for (const Skipped& item : report.skipped) skipped.push_back({{"file", item.file}, {"reason", item.reason}});
  meta["splits"][name] = {{"annotations", report.annotations},
                          {"samples", report.samples},
                          {"by_task", report.by_task},
                          {"skipped", std::move(skipped)}};
  save_json(out / "skills.json", taxonomy.to_json());
  lines.commit();
  save_json(out / "meta.json", meta);
  return report;
}

}  // namespace mose::skills
