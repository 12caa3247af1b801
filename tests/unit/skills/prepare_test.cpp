#include "mose/skills/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "helpers.h"
#include "mose/core/error.h"

namespace mose::skills {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

// A root with three good annotations.
class Prepare : public ::testing::Test {
 protected:
  Prepare() {
    for (const char* id : {"val_0001", "val_0002", "val_0003"}) {
      test::write_annotation(root(), test::annotation_json(), id);
    }
  }
  fs::path root() const { return dir_.path / "coda"; }
  fs::path out() const { return dir_.path / "out"; }
  fs::path file(const std::string& id) const { return root() / "CODA-LM/Train" / (id + ".json"); }
  PrepareReport run(bool skip_bad = false, const std::string& split = "Train") const {
    PrepareOptions options;
    options.skip_bad = skip_bad;
    return prepare(root(), split, out(), test::taxonomy(), options);
  }
  std::string error() const {
    try {
      run();
    } catch (const DataError& e) {
      EXPECT_EQ(e.exit_code(), 3);
      return e.what();
    }
    return "no error";
  }

 private:
  TemporaryFolder dir_;
};

TEST_F(Prepare, WritesADatasetThatReadsBackAsComposed) {
  const PrepareReport report = run();
  EXPECT_EQ(report.annotations, 3);
  EXPECT_EQ(report.samples, 21);
  EXPECT_EQ(report.by_task.at("single_turn/scene"), 3);
  EXPECT_EQ(report.by_task.at("multi_turn/region_perception"), 6);
  const Dataset dataset = load_dataset(out(), "train");
  EXPECT_EQ(dataset.root, fs::canonical(root()));
  ASSERT_EQ(dataset.samples.size(), 21u);
  PrepareOptions options;
  options.root = root();
  const auto expected = make_samples(coda::load_annotation(file("val_0001")), test::annotator(), options);
  for (size_t i = 0; i < expected.size(); ++i) {
    const Sample &a = expected[i], &b = dataset.samples[i];
    EXPECT_EQ(sample_to_json(a, test::taxonomy()), sample_to_json(b, dataset.taxonomy));
    EXPECT_EQ(a.region_index, b.region_index);
    ASSERT_EQ(a.labels.size(), b.labels.size());
    for (size_t k = 0; k < a.labels.size(); ++k) {
      EXPECT_EQ(a.labels[k].skill, b.labels[k].skill);
      EXPECT_EQ(a.labels[k].confidence, b.labels[k].confidence);
    }
  }
}

TEST_F(Prepare, SplitsShareAFolder) {
  run();
  fs::create_directories(root() / "CODA-LM/Mini");
  fs::copy_file(file("val_0001"), root() / "CODA-LM/Mini/val_0001.json");
  run(false, "mini");
  EXPECT_EQ(load_dataset(out(), "Train").samples.size(), 21u);
  EXPECT_EQ(load_dataset(out(), "Mini").samples.size(), 7u);
  const Json meta = load_json(out() / "meta.json");
  EXPECT_EQ(meta["splits"]["train"]["annotations"], 3);
  EXPECT_EQ(meta["splits"]["mini"]["annotations"], 1);
}

TEST_F(Prepare, RunsTwiceToTheSameBytes) {
  run();
  const std::string first = read_file(out() / "train.jsonl");
  run();
  EXPECT_EQ(read_file(out() / "train.jsonl"), first);
}

TEST_F(Prepare, RefusesAFolderOfAnotherTaxonomy) {
  run();
  fs::create_directories(root() / "CODA-LM/Mini");
  fs::copy_file(file("val_0001"), root() / "CODA-LM/Mini/val_0001.json");
  Json json = test::taxonomy().to_json();
  json["name"] = "other";
  EXPECT_THROW(prepare(root(), "Mini", out(), Taxonomy::from_json(json, "other"), {}), UsageError);
  EXPECT_NO_THROW(prepare(root(), "Train", out(), Taxonomy::from_json(json, "other"), {}));
}

TEST_F(Prepare, StopsAtATruncatedAnnotationAndNamesIt) {
  write_file(file("val_0002"), read_file(file("val_0002")).substr(0, 300));
  EXPECT_THAT(error(), AllOf(HasSubstr("val_0002.json"), HasSubstr("not valid JSON")));
  EXPECT_FALSE(fs::exists(out() / "train.jsonl"));
}

TEST_F(Prepare, StopsAtAMissingFieldAndNamesIt) {
  Json json = test::annotation_json();
  json.erase("driving_suggestion");
  save_json(file("val_0002"), json);
  EXPECT_THAT(error(), AllOf(HasSubstr("val_0002.json"), HasSubstr("driving_suggestion")));
}

TEST_F(Prepare, StopsAtABoxOutsideTheImage) {
  write_file(root() / "val/images/0003.jpg", test::jpeg_header(150, 360));
  EXPECT_THAT(error(), AllOf(HasSubstr("val_0003.json"), HasSubstr("region_perception.2"), HasSubstr("150 x 360")));
}

TEST_F(Prepare, StopsAtAMissingImage) {
  fs::remove(root() / "val/images/0003.jpg");
  EXPECT_THAT(error(), AllOf(HasSubstr("val_0003.json"), HasSubstr("val/images/0003.jpg"), HasSubstr("missing")));
}

TEST_F(Prepare, SkipBadCountsAndListsWhatItLeftOut) {
  write_file(file("val_0002"), "{");
  fs::remove(root() / "val/images/0003.jpg");
  const PrepareReport report = run(true);
  EXPECT_EQ(report.annotations, 1);
  EXPECT_EQ(report.samples, 7);
  ASSERT_EQ(report.skipped.size(), 2u);
  EXPECT_EQ(report.skipped[0].file, file("val_0002").string());
  EXPECT_THAT(report.skipped[1].reason, HasSubstr("missing"));
  const Json skipped = load_json(out() / "meta.json")["splits"]["train"]["skipped"];
  ASSERT_EQ(skipped.size(), 2u);
  EXPECT_EQ(skipped[0]["file"], file("val_0002").string());
}

TEST_F(Prepare, SkipBadWithNothingLeftIsAnError) {
  for (const char* id : {"val_0001", "val_0002", "val_0003"}) write_file(file(id), "{");
  EXPECT_THROW(run(true), DataError);
}

TEST_F(Prepare, NeedsAForm) {
  PrepareOptions options;
  options.single_turn = options.multi_turn = false;
  EXPECT_THROW(prepare(root(), "Train", out(), test::taxonomy(), options), UsageError);
}

// Loads a data set whose first line was changed.
std::string load_error(const fs::path& out, const std::function<void(Json&)>& spoil) {
  const std::string content = read_file(out / "train.jsonl");
  Json first = Json::parse(content.substr(0, content.find('\n')));
  spoil(first);
  write_file(out / "train.jsonl", first.dump() + content.substr(content.find('\n')));
  std::string message = "no error";
  try {
    load_dataset(out, "train");
  } catch (const DataError& e) {
    message = e.what();
  }
  write_file(out / "train.jsonl", content);
  return message;
}

TEST_F(Prepare, LoadingNamesFileLineAndField) {
  run();
  EXPECT_THAT(load_error(out(), [](Json& j) { j.erase("answer"); }), AllOf(HasSubstr("train.jsonl:1"), HasSubstr("answer")));
  EXPECT_THAT(load_error(out(), [](Json& j) { j["labels"][1]["end"] = 100000; }), AllOf(HasSubstr("labels[1]"), HasSubstr("no span")));
  EXPECT_THAT(load_error(out(), [](Json& j) { j["labels"][0]["stage"] = "dream"; }), HasSubstr("no stage is named \"dream\""));
  EXPECT_THAT(load_error(out(), [](Json& j) { j["labels"][0]["skill"] = "lateral"; }), HasSubstr("labels[0]"));
  EXPECT_THAT(load_error(out(), [](Json& j) { j["answer"] = "Ü"; j["segments"][0]["end"] = 1; }), HasSubstr("segments[0]"));
  EXPECT_THROW(load_dataset(out(), "val"), DataError);
  EXPECT_THROW(load_dataset(out() / "none", "train"), DataError);
}

}  // namespace
}  // namespace mose::skills
