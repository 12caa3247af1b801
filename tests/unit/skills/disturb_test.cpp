#include "mose/skills/disturb.h"

#include <gtest/gtest.h>

#include <map>

#include "helpers.h"

namespace mose::skills {
namespace {

// Many samples, each with the labels of the annotation's single turn.
std::vector<Sample> many(int count, const LabelControls& controls, uint64_t seed) {
  const auto all = test::samples();
  std::vector<Sample> out(static_cast<size_t>(count), test::sample(all, "val_0001/single"));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].id = "val_" + std::to_string(i) + "/single";
    disturb_labels(out[i], test::taxonomy(), controls, seed);
  }
  return out;
}

bool same(const Label& a, const Label& b) {
  return a.begin == b.begin && a.end == b.end && a.stage == b.stage && a.skill == b.skill && a.rule == b.rule &&
         a.confidence == b.confidence;
}

bool same(const Sample& a, const Sample& b) {
  return std::equal(a.labels.begin(), a.labels.end(), b.labels.begin(), b.labels.end(),
                    [](const Label& x, const Label& y) { return same(x, y); });
}

TEST(DisturbLabels, FullShareWithoutNoiseChangesNothing) {
  const auto all = test::samples();
  const Sample plain = test::sample(all, "val_0001/single");
  ASSERT_FALSE(plain.labels.empty());
  for (const Sample& sample : many(5, {}, 3)) EXPECT_TRUE(same(sample, plain));
}

TEST(DisturbLabels, ASampleKeepsAllOfItsLabelsOrNone) {
  const size_t labels = many(1, {}, 1)[0].labels.size();
  int kept = 0;
  for (const Sample& sample : many(2000, {.share = 0.3}, 1)) {
    EXPECT_TRUE(sample.labels.empty() || sample.labels.size() == labels);
    kept += !sample.labels.empty();
  }
  EXPECT_NEAR(kept, 600, 80);
  // Who keeps labels at a tenth keeps them at three tenths.
  const auto few = many(200, {.share = 0.1}, 1), more = many(200, {.share = 0.3}, 1);
  for (size_t i = 0; i < few.size(); ++i) EXPECT_TRUE(few[i].labels.empty() || same(few[i], more[i]));
}

TEST(DisturbLabels, NoiseDrawsEverySkillAlikeAndKeepsStagesTrueToSkills) {
  const auto& taxonomy = test::taxonomy();
  const auto skills = static_cast<int64_t>(taxonomy.skills().size());
  const Sample plain = many(1, {}, 1)[0];
  std::map<int64_t, int> drawn;
  int total = 0, changed = 0;
  for (const Sample& sample : many(600, {.noise = 0.5}, 1)) {
    ASSERT_EQ(sample.labels.size(), plain.labels.size());
    for (size_t i = 0; i < plain.labels.size(); ++i) {
      const Label &label = sample.labels[i], &before = plain.labels[i];
      EXPECT_EQ(label.begin, before.begin);
      EXPECT_EQ(label.end, before.end);
      ASSERT_EQ(label.skill < 0, before.skill < 0);
      if (label.skill < 0) continue;
      EXPECT_EQ(label.stage, taxonomy.skills()[static_cast<size_t>(label.skill)].stage);
      ++total;
      if (label.skill != before.skill) {
        ++changed;
        ++drawn[label.skill];
      }
    }
  }
  EXPECT_NEAR(changed, 0.5 * total * static_cast<double>(skills - 1) / static_cast<double>(skills), 0.04 * total);
  EXPECT_EQ(static_cast<int64_t>(drawn.size()), skills);
  for (const auto& [skill, count] : drawn) EXPECT_GT(count, 0.5 * changed / static_cast<double>(skills)) << skill;
}

TEST(DisturbLabels, FollowsFromSeedAndIdAlone) {
  const LabelControls random{.noise = 1};
  const auto once = many(20, random, 7), again = many(20, random, 7), other = many(20, random, 8);
  int differ = 0;
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_TRUE(same(once[i], again[i]));
    differ += !same(once[i], other[i]);
  }
  EXPECT_GE(differ, 19);
  EXPECT_FALSE(same(once[0], once[1]));
}

}  // namespace
}  // namespace mose::skills
