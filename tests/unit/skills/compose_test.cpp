#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "helpers.h"
#include "mose/core/error.h"

namespace mose::skills {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> ids(const std::vector<Sample>& samples) {
  std::vector<std::string> out;
  for (const Sample& sample : samples) out.push_back(sample.id);
  return out;
}

// "stage: text" of every segment.
std::vector<std::string> segments(const Sample& sample) {
  std::vector<std::string> out;
  for (const Segment& s : sample.segments) {
    out.push_back(test::taxonomy().stages()[static_cast<size_t>(s.stage)].name + ": " +
                  test::text_of(sample.answer, s.begin, s.end));
  }
  return out;
}

// An annotation whose texts are full of characters of two to four bytes.
coda::Annotation non_ascii() {
  coda::Annotation a = test::annotation();
  a.summary = "Über der Straße – Regen, 雨 and 🚗. It rains… “wet”! Ünsicher.";
  for (auto& [category, entries] : a.general) {
    for (auto& entry : entries) {
      entry.description = "Ein 🚚 – ähnlich, left of “Öl”; 卡车 and more…";
      entry.explanation = "Because 危险, it “may” cross – naïve…";
    }
  }
  for (auto& region : a.regions) region.text = "Ein 🚧… – größer, which may block 路 – überall.";
  a.driving_suggestion = "Slow – 慢! And “watch” the Fußgänger…";
  return a;
}

TEST(MakeSamples, GivesBothForms) {
  EXPECT_THAT(ids(test::samples()),
              ElementsAre("val_0001/single", "val_0001/single_region/2", "val_0001/single_region/10",
                          "val_0001/general", "val_0001/region/2", "val_0001/region/10", "val_0001/suggestion"));
}

TEST(MakeSamples, OptionsLeaveFormsOut) {
  PrepareOptions options;
  options.multi_turn = false;
  options.regions = false;
  EXPECT_THAT(ids(make_samples(test::annotation(), test::annotator(), options)), ElementsAre("val_0001/single"));
  options.single_turn = false;
  options.multi_turn = true;
  EXPECT_THAT(ids(make_samples(test::annotation(), test::taxonomy(), options)),
              ElementsAre("val_0001/general", "val_0001/suggestion"));
}

TEST(MakeSamples, TheSingleTurnAnswerIsDescriptionReasoningPlan) {
  const auto all = test::samples();
  const Sample& s = test::sample(all, "val_0001/single");
  EXPECT_EQ(s.answer,
            "Description:\nIt rains and the road is wet. A white truck stands ahead in our lane. "
            "Three orange cones stand on the right.\n"
            "Reasoning:\nThe truck blocks the lane, so the ego car has to slow down. They close the right lane.\n"
            "Plan:\nSlow down and change to the left lane.");
  EXPECT_EQ(s.form, "single_turn");
  EXPECT_EQ(s.task, "scene");
  EXPECT_EQ(s.image, "val/images/0001.jpg");
  ASSERT_EQ(s.objects.size(), 2u);
  EXPECT_EQ(s.objects[0].category, "truck");
  EXPECT_EQ(s.objects[0].box.x, 100);
}

TEST(MakeSamples, AStageWithoutTextHasNoHeader) {
  coda::Annotation a = test::annotation();
  for (auto& [category, entries] : a.general) entries.clear();
  a.summary = "It rains on an empty road.";
  const auto all = test::samples(a);
  EXPECT_EQ(test::sample(all, "val_0001/single").answer,
            "Description:\nIt rains on an empty road.\nPlan:\nSlow down and change to the left lane.");
}

TEST(MakeSamples, ARegionIsSplitAtItsFirstCause) {
  const auto all = test::samples();
  EXPECT_EQ(test::sample(all, "val_0001/single_region/2").answer,
            "Description:\nA white truck ahead.\nReasoning:\nIt affects the ego car because it does not move.");
  EXPECT_THAT(segments(test::sample(all, "val_0001/region/10")),
              ElementsAre("describe: Three orange cones on the right. ", "reason: They may force us to merge."));
}

TEST(MakeSamples, ACauseInTheFirstSentenceCutsAtItsClause) {
  coda::Annotation a = test::annotation();
  a.regions[0].text = "A truck stands ahead, which may block the road.";
  const auto all = test::samples(a);
  EXPECT_EQ(test::sample(all, "val_0001/single_region/2").answer,
            "Description:\nA truck stands ahead,\nReasoning:\nwhich may block the road.");
  a.regions[0].text = "A truck stands ahead. This matters little, because it is far off.";
  EXPECT_EQ(test::sample(test::samples(a), "val_0001/single_region/2").answer,
            "Description:\nA truck stands ahead.\nReasoning:\nThis matters little, because it is far off.");
}

TEST(MakeSamples, ARegionWithoutACauseOnlyDescribes) {
  coda::Annotation a = test::annotation();
  a.regions[0].text = "This truck may block the road.";  // the cue is in the opening clause
  const auto all = test::samples(a);
  EXPECT_EQ(test::sample(all, "val_0001/single_region/2").answer, "Description:\nThis truck may block the road.");
}

TEST(MakeSamples, TheMultiTurnFormIsTheAnnotationsOwnText) {
  const auto all = test::samples();
  EXPECT_EQ(test::sample(all, "val_0001/general").answer, test::annotation().summary);
  EXPECT_EQ(test::sample(all, "val_0001/region/2").answer, test::annotation().regions[0].text);
  EXPECT_EQ(test::sample(all, "val_0001/suggestion").answer, test::annotation().driving_suggestion);
  EXPECT_THAT(segments(test::sample(all, "val_0001/general")),
              ElementsAre("describe: It rains and the road is wet. A white truck stands ahead in our lane. ",
                          "reason: The truck blocks the lane, so the ego car has to slow down."));
}

TEST(MakeSamples, WithoutASummaryTheEntriesMakeTheGeneralAnswer) {
  coda::Annotation a = test::annotation();
  a.summary = "";
  const auto all = test::samples(a);
  EXPECT_EQ(test::sample(all, "val_0001/general").answer,
            "A white truck stands ahead in our lane. The truck blocks the lane, so the ego car has to slow down. "
            "Three orange cones stand on the right. They close the right lane.");
}

TEST(MakeSamples, RegionsUseTheMarkedPictureOrNameTheBox) {
  const auto all = test::samples();
  EXPECT_EQ(test::sample(all, "val_0001/region/10").image, "val/images_w_boxes/0001_object_10.jpg");
  EXPECT_EQ(test::sample(all, "val_0001/region/10").region_index, "10");
  EXPECT_THAT(test::sample(all, "val_0001/region/10").question, HasSubstr("red rectangle"));

  TemporaryFolder dir;  // with the picture, without its marked copies
  test::write_annotation(dir.path, test::annotation_json());
  PrepareOptions options;
  options.root = dir.path;
  const auto plain = make_samples(test::annotation(), test::annotator(), options);
  EXPECT_EQ(test::sample(plain, "val_0001/region/2").image, "val/images/0001.jpg");
  // The box [100, 80, 90, 60] of a picture of 640 x 360.
  EXPECT_THAT(test::sample(plain, "val_0001/region/2").question, HasSubstr("from (0.156, 0.222) to (0.297, 0.389)"));
  EXPECT_THAT(test::sample(plain, "val_0001/region/2").question, Not(HasSubstr("{")));
}

TEST(MakeSamples, SegmentsTileTheAnswer) {
  for (const auto& a : {test::annotation(), non_ascii()}) {
    for (const Sample& s : test::samples(a)) {
      int64_t at = 0;
      for (const Segment& segment : s.segments) {
        EXPECT_EQ(segment.begin, at) << s.id;
        EXPECT_GT(segment.end, segment.begin) << s.id;
        at = segment.end;
      }
      EXPECT_EQ(at, static_cast<int64_t>(s.answer.size())) << s.id;
    }
  }
}

TEST(MakeSamples, LabelsCutOnlyBetweenCodePoints) {
  int64_t labels = 0;
  for (const Sample& s : test::samples(non_ascii())) {
    const auto boundary = [&](int64_t at) {
      return at == static_cast<int64_t>(s.answer.size()) ||
             (static_cast<unsigned char>(s.answer[static_cast<size_t>(at)]) & 0xC0) != 0x80;
    };
    for (const Label& label : s.labels) {
      EXPECT_GE(label.begin, 0);
      EXPECT_LT(label.begin, label.end);
      EXPECT_LE(label.end, static_cast<int64_t>(s.answer.size()));
      EXPECT_TRUE(boundary(label.begin) && boundary(label.end)) << s.id << " " << label.rule;
      EXPECT_GT(label.confidence, 0);
      EXPECT_LE(label.confidence, 1);
      ++labels;
    }
  }
  EXPECT_GT(labels, 30);
}

TEST(MakeSamples, EveryLabelsSkillBelongsToItsStageAndItsSegment) {
  for (const Sample& s : test::samples()) {
    for (const Label& label : s.labels) {
      if (label.skill >= 0) {
        EXPECT_EQ(test::taxonomy().skills()[static_cast<size_t>(label.skill)].stage, label.stage) << label.rule;
      }
      const bool inside = std::any_of(s.segments.begin(), s.segments.end(), [&](const Segment& segment) {
        return segment.stage == label.stage && label.begin >= segment.begin && label.end <= segment.end;
      });
      EXPECT_TRUE(inside) << s.id << " " << label.rule;
    }
  }
}

TEST(MakeSamples, RefusesAnEmptyAnswer) {
  coda::Annotation a = test::annotation();
  a.driving_suggestion = "  ";
  EXPECT_THROW(test::samples(a), DataError);
}

}  // namespace
}  // namespace mose::skills
