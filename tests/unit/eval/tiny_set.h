// A set of three scenes in CODA-LM's layout with facts, and answers to it, in a scratch folder.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "mose/coda/answers.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"

namespace mose::eval {

namespace fs = std::filesystem;

inline const Json kLexicon = Json::parse(R"({
  "classes": {"cone": ["cone", "cones"], "bus": ["bus"], "dog": ["dog"]},
  "places": {"left": ["on the left"], "right": ["on the right"], "ego_lane": ["in our lane"]},
  "risks": {"blockage": ["blocks the way"], "collision": ["may collide"]},
  "actions": {"slow_down": ["slow down"], "stop": ["come to a stop"], "keep_left": ["keep left"]},
  "weather": {"rain": ["rain"], "fog": ["fog"]},
  "time": {"night": ["night"], "day": ["daylight"]},
  "ignore": ["our car"],
  "negations": ["no"]
})");

struct TinySet {
  fs::path dir = fs::temp_directory_path() / str("mose_eval_", ::getpid());
  fs::path root = dir / "coda", answers = dir / "answers", blind = dir / "blind";
  fs::path lexicon = dir / "lexicon.json";

  // Scene 1: a cone in our lane in rain, scene 2: a bus on the right, scene 3: a dog on the left.
  std::vector<std::string> general = {"A cone is in our lane in rain. The cone blocks the way.",
                                      "A bus is on the right.",
                                      "A dog is on the left at night. The dog may collide."};
  std::vector<std::string> region = {"A cone in our lane. It blocks the way.",
                                     "A bus on the right.", "A dog on the left. It may collide."};
  std::vector<std::string> suggestion = {"Slow down and keep left.", "Slow down.",
                                         "Slow down and come to a stop."};

  TinySet() {
    fs::remove_all(dir);
    save_json(lexicon_made(), kLexicon);
    const char* categories[] = {"traffic_cone", "bus", "dog"};
    const Json facts[] = {
        {{"describe", {"cone@ego_lane", "weather:rain"}},
         {"reason", {"cone:blockage"}},
         {"plan", {"keep_left", "slow_down"}},
         {"regions", {{"1", {{"describe", {"cone@ego_lane"}}, {"reason", {"cone:blockage"}}}}}}},
        {{"describe", {"bus@right"}},
         {"reason", Json::array()},
         {"plan", {"slow_down"}},
         {"regions", {{"1", {{"describe", {"bus@right"}}, {"reason", Json::array()}}}}}},
        {{"describe", {"dog@left", "time:night"}},
         {"reason", {"dog:collision"}},
         {"plan", {"slow_down", "stop"}},
         {"regions", {{"1", {{"describe", {"dog@left"}}, {"reason", {"dog:collision"}}}}}}}};
    for (int i = 0; i < 3; ++i) {
      Json entries = Json::object();
      for (const char* key : {"vehicles", "vulnerable_road_users", "traffic_signs",
                              "traffic_lights", "traffic_cones", "barriers", "other_objects"}) {
        entries[key] = Json::array();
      }
      entries["description and explanation"] = general[i];
      const Json annotation = {{"general_perception", entries},
                               {"region_perception",
                                {{"1",
                                  {{"description and explanation", region[i]},
                                   {"box", {2, 3, 10, 8}},
                                   {"category_name", categories[i]}}}}},
                               {"driving_suggestion", suggestion[i]}};
      write_json(root / "CODA-LM" / "Test" / str("test_000", i + 1, ".json"), annotation);
      write_json(root / "facts" / "Test" / str("test_000", i + 1, ".json"), facts[i]);
      write_picture(root / image(i));
      write_picture(root / boxed(i));
    }
    write_answers(answers);
  }
  ~TinySet() { fs::remove_all(dir); }

  static std::string image(int scene) { return str("test/images/000", scene + 1, ".jpg"); }
  static std::string boxed(int scene) {
    return str("test/images_w_boxes/000", scene + 1, "_object_1.jpg");
  }

  // The references themselves as answers.
  void write_answers(const fs::path& to) const {
    std::vector<coda::VqaRow> rows[3];
    for (int i = 0; i < 3; ++i) {
      rows[0].push_back({i, image(i), "q", general[i], ""});
      rows[1].push_back({i, boxed(i), "q", region[i], "bus"});
      rows[2].push_back({i, image(i), "q", suggestion[i], ""});
    }
    make_directories(to);
    for (int t = 0; t < 3; ++t) coda::write_rows(coda::answer_file(to, coda::kTasks[t]), rows[t]);
  }
  static void write_json(const fs::path& file, const Json& json) {
    make_directories(file.parent_path());
    save_json(file, json);
  }
  // The header of a 64 x 36 JPEG: enough to know its size and to embed it.
  static void write_picture(const fs::path& file) {
    make_directories(file.parent_path());
    const unsigned char bytes[] = {0xFF, 0xD8, 0xFF, 0xC0, 0,    11, 8,    0,   36,
                                   0,    64,   1,    1,    0x11, 0,  0xFF, 0xD9};
    write_file(file, std::string(reinterpret_cast<const char*>(bytes), sizeof bytes));
  }

 private:
  fs::path lexicon_made() const {
    make_directories(dir);
    return lexicon;
  }
};

}  // namespace mose::eval
