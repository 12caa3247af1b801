#include "mose/scenes/dataset.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <fstream>
#include <mutex>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"
#include "mose/core/signals.h"
#include "mose/core/strings.h"
#include "scenes/picture.h"
#include "scenes/wording.h"

namespace mose::scenes {
namespace fs = std::filesystem;
namespace {

constexpr const char* kManifest = "scenes.json";
constexpr const char* kPartial = "scenes.partial.json";  // there while a data set is being written
constexpr int64_t kMostScenes = 9999;                    // of one image folder: NNNN.jpg
constexpr const char* kQuestions[3] = {
    "Describe the driving scene: weather, road, every object that matters to the ego car, and why.",
    "Describe the object in the red rectangle and explain how it affects the ego car.",
    "What should the ego car do in this situation, and why?"};

// One scene to make: its split, and the number of its image in val/ or test/.
struct Job {
  std::string_view split;   // "Train"
  std::string_view folder;  // "val"
  int64_t number;
  std::string stem() const {
    const std::string digits = std::to_string(number);
    return std::string(4 - std::min<size_t>(4, digits.size()), '0') + digits;
  }
};

// The question rows of one scene, ids not yet given.
struct Rows {
  coda::VqaRow general, suggestion;
  std::vector<coda::VqaRow> regions;
};

void check(const Options& o) {
  auto within = [](const char* name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      throw UsageError(str("scenes: ", name, ": expected ", low, " to ", high, ", found ", value));
    }
  };
  within("train", o.train, 0, kMostScenes);
  within("val", o.val, 0, kMostScenes);
  within("test", o.test, 0, kMostScenes);
  within("val and test together", o.val + o.test, 0, kMostScenes);
  if (o.train + o.val + o.test == 0) {
    throw UsageError("scenes: expected at least one scene in train, val or test, found none");
  }
  within("width", o.width, 160, 3840);
  within("height", o.height, 90, 2160);
  const double ratio = static_cast<double>(o.width) / static_cast<double>(o.height);
  if (std::abs(ratio - 16.0 / 9) > 0.03) {
    throw UsageError(str("scenes: expected a width and height of 16:9 (640x360), found ", o.width,
                         "x", o.height));
  }
  if (!(o.hold_out >= 0 && o.hold_out <= 0.5)) throw UsageError(str("scenes: hold-out: expected 0 to 0.5, found ", o.hold_out));
  if (!(o.tail >= 0 && o.tail <= 3)) throw UsageError(str("scenes: tail: expected 0 to 3, found ", o.tail));
  within("threads", o.threads, 1, 256);
  if (o.out.empty()) throw UsageError("scenes: expected an output directory, found an empty path");
}

Json manifest(const Options& o) {
  Json json = {{"format", 1},    {"train", o.train}, {"val", o.val},      {"test", o.test},
               {"seed", o.seed}, {"width", o.width}, {"height", o.height}};
  if (o.hold_out > 0) json["hold_out"] = o.hold_out;
  if (o.tail > 0) json["tail"] = o.tail;
  return json;
}

// True when the data set is there already.
bool check_output(const Options& o) {
  if (!fs::exists(o.out)) return false;
  if (!fs::is_directory(o.out))
    throw UsageError(str(o.out.string(), ": expected a directory, found a file"));
  for (const char* name : {kManifest, kPartial}) {
    const fs::path file = o.out / name;
    if (!fs::exists(file)) continue;
    const Json found = load_json(file);
    if (found != manifest(o)) {
      throw UsageError(str(file.string(), ": holds scenes of other options (", found.dump(),
                           ", wanted ", manifest(o).dump(),
                           "); choose another directory or remove this one"));
    }
    return name == kManifest;
  }
  if (!fs::is_empty(o.out)) {
    throw UsageError(str(o.out.string(), ": holds other data (neither ", kManifest, " nor ",
                         kPartial, " is there); choose an empty or new directory"));
  }
  return false;
}

// A data set counts only once its manifest is there, so that its many pictures need not each be
// flushed to disk.
void write_picture(const fs::path& path, const cv::Mat& image) {
  std::vector<uchar> bytes;
  cv::imencode(".jpg", image, bytes, {cv::IMWRITE_JPEG_QUALITY, 90});
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file)
    throw Error(str(path.string(), ": writing ", bytes.size(), " bytes failed; is the disk full?"));
}

void write_text(const fs::path& path, const Json& json) {
  const std::string text = json.dump(2) + "\n";
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file)
    throw Error(str(path.string(), ": writing ", text.size(), " bytes failed; is the disk full?"));
}

Rows make_scene(const Options& o, const Job& job) {
  const std::string stem = job.stem(), id = str(job.folder, "_", stem);
  const std::string image_name = str(job.folder, "/images/", stem, ".jpg");
  const Scene scene = sample_scene(o.seed, id, o.width, o.height, {o.hold_out, o.tail, job.split == "Test"});
  const Picture picture = draw_picture(scene, o.seed);
  coda::Annotation annotation = word_scene(scene, o.seed, picture.boxes);
  annotation.image = image_name;

  write_picture(o.out / image_name, picture.image);
  Rows rows;
  rows.general = {0, image_name, kQuestions[0], annotation.summary, ""};
  rows.suggestion = {0, image_name, kQuestions[2], annotation.driving_suggestion, ""};
  for (const coda::Region& region : annotation.regions) {
    const std::string name =
        str(job.folder, "/images_w_boxes/", stem, "_object_", region.index, ".jpg");
    cv::Mat boxed = picture.image.clone();
    const cv::Rect box(static_cast<int>(region.box.x), static_cast<int>(region.box.y),
                       static_cast<int>(region.box.w), static_cast<int>(region.box.h));
    cv::rectangle(boxed, box, cv::Scalar(0, 0, 255), 2);
    write_picture(o.out / name, boxed);
    rows.regions.push_back({0, name, kQuestions[1], region.text, region.category_name});
  }
  write_text(o.out / "CODA-LM" / job.split / (id + ".json"), coda::annotation_to_json(annotation));
  write_text(o.out / "facts" / job.split / (id + ".json"),
             scene_facts(scene, image_name, picture.boxes, o.hold_out));
  return rows;
}

void make_folders(const Options& o, const std::vector<Job>& jobs) {
  for (const Job& job : jobs) {
    if (&job != &jobs[0] && job.split == (&job - 1)->split) continue;
    make_directories(o.out / "CODA-LM" / job.split / "vqa_anno");
    make_directories(o.out / "facts" / job.split);
    make_directories(o.out / job.folder / "images");
    make_directories(o.out / job.folder / "images_w_boxes");
  }
}

void write_questions(const Options& o, const std::vector<Job>& jobs,
                     const std::vector<Rows>& rows) {
  for (size_t begin = 0; begin < jobs.size();) {
    size_t end = begin;
    std::vector<coda::VqaRow> general, regions, suggestions;
    for (; end < jobs.size() && jobs[end].split == jobs[begin].split; ++end) {
      general.push_back(rows[end].general);
      suggestions.push_back(rows[end].suggestion);
      regions.insert(regions.end(), rows[end].regions.begin(), rows[end].regions.end());
    }
    const fs::path folder = o.out / "CODA-LM" / jobs[begin].split / "vqa_anno";
    size_t task = 0;
    for (std::vector<coda::VqaRow>* list : {&general, &regions, &suggestions}) {
      for (size_t i = 0; i < list->size(); ++i) (*list)[i].question_id = static_cast<int64_t>(i);
      coda::write_rows(folder / str(coda::kTasks[task++], ".jsonl"), *list);
    }
    begin = end;
  }
}

}  // namespace

void write_dataset(const Options& options) {
  check(options);
  if (check_output(options)) {
    log::info(options.out.string(), ": these scenes are there already, nothing to do");
    return;
  }
  std::vector<Job> jobs;
  for (int64_t i = 1; i <= options.train; ++i) jobs.push_back({"Train", "val", i});
  for (int64_t i = 1; i <= options.val; ++i) jobs.push_back({"Val", "test", i});
  for (int64_t i = 1; i <= options.test; ++i) jobs.push_back({"Test", "test", options.val + i});

  make_directories(options.out);
  save_json(options.out / kPartial, manifest(options));
  make_folders(options, jobs);

  std::vector<Rows> rows(jobs.size());
  Progress progress("scenes", static_cast<int64_t>(jobs.size()), "images");
  std::mutex mutex;  // of progress and failure
  std::exception_ptr failure;
  std::atomic<size_t> next{0};
  auto work = [&] {
    try {
      for (size_t i; (i = next++) < jobs.size();) {
        throw_if_stopped();
        rows[i] = make_scene(options, jobs[i]);
        const std::lock_guard lock(mutex);
        progress.advance();
      }
    } catch (...) {
      next = jobs.size();
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::jthread> threads;
  for (int64_t i = 1; i < options.threads; ++i) threads.emplace_back(work);
  work();
  threads.clear();  // joins
  if (failure) std::rethrow_exception(failure);

  write_questions(options, jobs, rows);
  save_json(options.out / kManifest, manifest(options));
  fs::remove(options.out / kPartial);
}

}  // namespace mose::scenes
