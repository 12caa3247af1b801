// What the texts of a scene state, as the extractor reads them, is exactly the scene's facts.
#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/eval/facts.h"
#include "scenes/wording.h"
#include "scenes/world.h"

namespace mose::scenes {
namespace {

constexpr int kScenes = 600;

struct Worded {
  Scene scene;
  coda::Annotation annotation;
  Json facts;
};

Worded worded(int i) {
  Worded w;
  w.scene = sample_scene(5, "test_" + std::to_string(i), 640, 360);
  const std::vector<std::array<double, 4>> boxes(w.scene.objects.size(), {10, 10, 50, 50});
  w.annotation = word_scene(w.scene, 5, boxes);
  w.facts = scene_facts(w.scene, "test/images/0001.jpg", boxes);
  return w;
}

std::set<std::string> listed(const Json& json) {
  return json.get<std::set<std::string>>();
}

std::string entries(const coda::Annotation& a) {
  std::string text;
  for (const auto& [category, list] : a.general) {
    for (const coda::Entry& e : list) text += e.description + " " + e.explanation + " ";
  }
  return text;
}

class Wording : public testing::Test {
 protected:
  const eval::FactLexicon lexicon = eval::FactLexicon::load(resource("facts/driving.json"));
};

TEST_F(Wording, SummaryStatesEveryDescribeAndReasonFactAndNoOther) {
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    const eval::FactSet found = lexicon.extract(w.annotation.summary);
    EXPECT_EQ(found.describe, listed(w.facts["describe"])) << w.annotation.summary;
    EXPECT_EQ(found.reason, listed(w.facts["reason"])) << w.annotation.summary;
    EXPECT_TRUE(found.plan.empty()) << w.annotation.summary;
  }
}

TEST_F(Wording, CategoryEntriesStateTheObjectsFacts) {
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    const std::string text = entries(w.annotation);
    const eval::FactSet found = lexicon.extract(text);
    std::set<std::string> objects;
    for (const std::string& fact : listed(w.facts["describe"])) {
      if (fact.find('@') != std::string::npos) objects.insert(fact);
    }
    EXPECT_EQ(found.describe, objects) << text;
    EXPECT_EQ(found.reason, listed(w.facts["reason"])) << text;
    EXPECT_TRUE(found.plan.empty()) << text;
  }
}

TEST_F(Wording, RegionTextStatesTheRegionsFacts) {
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    for (const coda::Region& region : w.annotation.regions) {
      const eval::FactSet found = lexicon.extract(region.text);
      const Json& facts = w.facts["regions"][region.index];
      EXPECT_EQ(found.describe, listed(facts["describe"])) << region.text;
      EXPECT_EQ(found.reason, listed(facts["reason"])) << region.text;
      EXPECT_TRUE(found.plan.empty()) << region.text;
    }
  }
}

TEST_F(Wording, SuggestionStatesThePlan) {
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    EXPECT_EQ(lexicon.extract(w.annotation.driving_suggestion).plan, listed(w.facts["plan"]))
        << w.annotation.driving_suggestion;
  }
}

TEST_F(Wording, OneAnswerOfAllPartsStatesAllFacts) {
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    const std::string text = str(w.annotation.summary, "\n", entries(w.annotation), "\n",
                                 w.annotation.driving_suggestion);
    const eval::FactSet found = lexicon.extract(text);
    EXPECT_EQ(found.describe, listed(w.facts["describe"])) << text;
    EXPECT_EQ(found.reason, listed(w.facts["reason"])) << text;
    EXPECT_EQ(found.plan, listed(w.facts["plan"])) << text;
  }
}

TEST_F(Wording, UsesAFewHundredWordsAndVariesTheWording) {
  std::set<std::string> words, suggestions;
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    std::string text =
        w.annotation.summary + " " + entries(w.annotation) + w.annotation.driving_suggestion;
    for (const coda::Region& region : w.annotation.regions) text += " " + region.text;
    for (char& c : text)
      c = std::isalpha(static_cast<unsigned char>(c)) ? static_cast<char>(std::tolower(c)) : ' ';
    for (const std::string& word : split(text, ' ')) words.insert(word);
    suggestions.insert(w.annotation.driving_suggestion);
  }
  EXPECT_LT(words.size(), 400u);
  EXPECT_GT(words.size(), 150u);
  EXPECT_GT(suggestions.size(), kScenes * 3 / 4);
}

TEST_F(Wording, StaysCompact) {
  for (int i = 0; i < kScenes; ++i) {
    const Worded w = worded(i);
    for (const auto& [category, list] : w.annotation.general) {
      for (const coda::Entry& e : list) {
        EXPECT_LE(split(e.description, ' ').size(), 20u) << e.description;
        EXPECT_LE(split(e.explanation, ' ').size(), 18u) << e.explanation;
      }
    }
    EXPECT_LE(split(w.annotation.driving_suggestion, ' ').size(), 45u)
        << w.annotation.driving_suggestion;
  }
}

}  // namespace
}  // namespace mose::scenes
