#include "mose/eval/chat_annotator.h"

#include <gtest/gtest.h>

#include <functional>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "support/helpers.h"

namespace mose::eval {
namespace {

const skills::Taxonomy& taxonomy() {
  static const auto loaded = skills::Taxonomy::load(resource("skills/driving.json"));
  return loaded;
}

const std::vector<skills::Sentence> kThree = {{{0, 1}, 0}, {{2, 3}, 2}, {{4, 5}, -1}};

std::string problem_of(const std::string& reply) {
  std::string problem;
  EXPECT_FALSE(read_labels(reply, kThree, taxonomy(), problem)) << reply;
  return problem;
}

TEST(ReadLabels, TakesALineASentence) {
  std::string problem;
  const auto found = read_labels("Here you are:\n2: Longitudinal, monitoring, longitudinal\n 1: none\n\n3: vehicle,lateral\r\n", kThree, taxonomy(), problem);
  ASSERT_TRUE(found) << problem;
  const auto skill = [](const char* name) { return taxonomy().skill_index(name); };
  EXPECT_TRUE((*found)[0].empty());
  EXPECT_EQ((*found)[1], (std::vector<int64_t>{skill("longitudinal"), skill("monitoring")}));
  EXPECT_EQ((*found)[2], (std::vector<int64_t>{skill("vehicle"), skill("lateral")}));
}

TEST(ReadLabels, SaysWhatItCannotTake) {
  EXPECT_EQ(problem_of("1: none\n3: none"), "sentence 2 has no line");
  EXPECT_EQ(problem_of("1: none\n1: none\n2: none\n3: none"), "sentence 1 comes twice");
  EXPECT_EQ(problem_of("1: car\n2: none\n3: none"), "sentence 1: \"car\" is no skill");
  EXPECT_EQ(problem_of("1: lateral\n2: none\n3: none"), "sentence 1: lateral is of another stage");
  EXPECT_EQ(problem_of("4: none"), "sentence 4 of 3");
  EXPECT_EQ(problem_of("1:\n2: none\n3: none"), "sentence 1: \"\" is no skill");
  EXPECT_EQ(problem_of(""), "sentence 1 has no line");
}

TEST(LabelPrompt, OursFitsTheTaxonomyAndOthersAreChecked) {
  const auto file = resource("annotators/chat.json");
  const auto prompt = LabelPrompt::load(file, taxonomy());
  EXPECT_EQ(prompt.skills.size(), taxonomy().skills().size());
  EXPECT_GT(prompt.confidence, 0);
  const TemporaryFolder folder;
  const auto refused = [&](const std::function<void(Json&)>& change) {
    Json json = load_json(file);
    change(json);
    save_json(folder.path / "p.json", json);
    return message_of<DataError>([&] { LabelPrompt::load(folder.path / "p.json", taxonomy()); });
  };
  EXPECT_NE(refused([](Json& j) { j["skills"].erase("lateral"); }).find("skills.lateral is missing"), std::string::npos);
  EXPECT_NE(refused([](Json& j) { j["skills"]["flying"] = "x"; }).find("skills.flying"), std::string::npos);
  EXPECT_NE(refused([](Json& j) { j["form"] = "{skills}"; }).find("{sentences} once"), std::string::npos);
  EXPECT_NE(refused([](Json& j) { j["confidence"] = 0; }).find("confidence"), std::string::npos);
}

}  // namespace
}  // namespace mose::eval
