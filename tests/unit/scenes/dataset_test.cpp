#include "mose/scenes/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <opencv2/imgcodecs.hpp>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/log.h"
#include "mose/eval/facts.h"

namespace mose::scenes {
namespace {

namespace fs = std::filesystem;

class WriteDataset : public testing::Test {
 protected:
  void SetUp() override {
    log::set_quiet(true);
    fs::remove_all(root);
    fs::create_directories(root);
  }
  void TearDown() override {
    fs::remove_all(root);
    log::set_quiet(false);
  }

  Options options(const std::string& name) const {
    Options o;
    o.out = root / name;
    o.train = 3;
    o.val = 2;
    o.test = 2;
    o.seed = 9;
    return o;
  }

  static std::map<std::string, std::string> contents(const fs::path& dir) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(dir)) {
      if (entry.is_regular_file())
        files[fs::relative(entry.path(), dir).string()] = read_file(entry.path());
    }
    return files;
  }

  static std::string failure(const Options& o) {
    try {
      write_dataset(o);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  }

  const fs::path root =
      fs::path(testing::TempDir()) /
      (std::string("scenes_") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(WriteDataset, GivesTheSameBytesForTheSameSeedWhateverTheThreads) {
  Options a = options("a"), b = options("b"), c = options("c");
  a.threads = 1;
  b.threads = 3;
  c.seed = 10;
  write_dataset(a);
  write_dataset(b);
  write_dataset(c);
  const auto first = contents(a.out), other = contents(c.out);
  EXPECT_EQ(first, contents(b.out));
  EXPECT_NE(first.at("val/images/0001.jpg"), other.at("val/images/0001.jpg"));
  EXPECT_NE(first.at("facts/Train/val_0001.json"), other.at("facts/Train/val_0001.json"));
}

TEST_F(WriteDataset, IsReadBackAsCodaLm) {
  const Options o = options("set");
  write_dataset(o);
  std::map<std::string, std::vector<std::string>> ids;
  for (const std::string split : {"Train", "Val", "Test"}) {
    for (const fs::path& file : coda::list_annotations(o.out, split)) {
      const coda::Annotation a = coda::load_annotation(file);
      ids[split].push_back(a.id);
      const cv::Mat image = cv::imread((o.out / a.image).string());
      ASSERT_EQ(image.cols, 640);
      ASSERT_EQ(image.rows, 360);
      size_t entries = 0;
      for (const auto& [category, list] : a.general) entries += list.size();
      EXPECT_EQ(entries, a.regions.size());
      const Json facts = load_json(o.out / "facts" / split / (a.id + ".json"));
      EXPECT_EQ(facts["image"], a.image.generic_string());
      ASSERT_EQ(facts["objects"].size(), a.regions.size());
      for (size_t i = 0; i < a.regions.size(); ++i) {
        EXPECT_EQ(facts["objects"][i]["class"], a.regions[i].category_name);
        EXPECT_EQ(facts["objects"][i]["box"][2], a.regions[i].box.w);
      }
      EXPECT_EQ(eval::load_facts(o.out / "facts" / split / (a.id + ".json"), "1").reason.size(),
                1u);
    }
  }
  EXPECT_THAT(ids["Train"], testing::ElementsAre("val_0001", "val_0002", "val_0003"));
  EXPECT_THAT(ids["Val"], testing::ElementsAre("test_0001", "test_0002"));
  EXPECT_THAT(ids["Test"], testing::ElementsAre("test_0003", "test_0004"));
}

TEST_F(WriteDataset, AsksTheThreeTasksWithReferenceAnswers) {
  const Options o = options("set");
  write_dataset(o);
  const fs::path folder = o.out / "CODA-LM/Val/vqa_anno";
  size_t regions = 0;
  const auto general = coda::read_rows(folder / "general_perception.jsonl");
  const auto region = coda::read_rows(folder / "region_perception.jsonl");
  const auto suggestion = coda::read_rows(folder / "driving_suggestion.jsonl");
  const auto files = coda::list_annotations(o.out, "Val");
  for (size_t i = 0; i < files.size(); ++i) {
    const coda::Annotation a = coda::load_annotation(files[i]);
    EXPECT_EQ(general.at(i).answer, a.summary);
    EXPECT_EQ(suggestion.at(i).answer, a.driving_suggestion);
    for (const coda::Region& r : a.regions) {
      const coda::VqaRow& row = region.at(regions);
      EXPECT_EQ(row.question_id, static_cast<int64_t>(regions++));
      EXPECT_EQ(row.label_name, r.category_name);
      EXPECT_EQ(row.answer, r.text);
      // The copy differs from the picture by a red frame, and inside the frame not at all.
      const cv::Mat boxed = cv::imread((o.out / row.image).string());
      const int x = static_cast<int>(r.box.x + r.box.w / 2), y = static_cast<int>(r.box.y);
      const cv::Vec3b edge = boxed.at<cv::Vec3b>(std::max(0, y), x);
      EXPECT_GT(edge[2], 160) << row.image;
      EXPECT_LT(edge[1], 110) << row.image;
    }
  }
  EXPECT_EQ(region.size(), regions);
}

TEST_F(WriteDataset, LeavesAFinishedSetAloneAndRedoesAHalfWrittenOne) {
  const Options o = options("set");
  write_dataset(o);
  const auto before = contents(o.out);
  const fs::path picture = o.out / "val/images/0001.jpg";
  write_file(picture, "changed");
  write_dataset(o);
  EXPECT_EQ(read_file(picture), "changed");

  fs::rename(o.out / "scenes.json", o.out / "scenes.partial.json");  // as if it had been stopped
  write_dataset(o);
  EXPECT_EQ(contents(o.out), before);
}

TEST_F(WriteDataset, RefusesADirectoryWithOtherData) {
  Options o = options("set");
  write_dataset(o);
  o.seed = 1;
  EXPECT_THAT(failure(o), testing::HasSubstr("other options"));
  o.out = root / "mine";
  make_directories(o.out);
  write_file(o.out / "notes.txt", "keep me");
  EXPECT_THAT(failure(o), testing::HasSubstr("holds other data"));
  EXPECT_EQ(read_file(o.out / "notes.txt"), "keep me");
}

TEST_F(WriteDataset, NamesTheOptionThatIsOutOfRange) {
  Options o = options("set");
  o.train = -1;
  EXPECT_THAT(failure(o), testing::HasSubstr("train: expected 0 to 9999, found -1"));
  o.train = o.val = o.test = 0;
  EXPECT_THAT(failure(o), testing::HasSubstr("at least one scene"));
  o.test = 1;
  o.height = 640;
  EXPECT_THAT(failure(o), testing::HasSubstr("16:9"));
  EXPECT_FALSE(fs::exists(o.out));
}

}  // namespace
}  // namespace mose::scenes
