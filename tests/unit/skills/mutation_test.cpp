// skills.json with random damage is taken, and labels, or is refused.
#include <gtest/gtest.h>

#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "mose/skills/annotator.h"
#include "support/damage.h"
#include "support/helpers.h"

namespace mose::skills {
namespace {

TEST(Mutation, TaxonomiesAreRefusedOrLabel) {
  const TemporaryFolder folder;
  const auto file = folder.path / "skills.json";
  const auto use = [&](const std::string& content) {
    write_quickly(file, content);
    const Annotator annotator(Taxonomy::load(file), file.string());
    label_answer(annotator, "Description:\nA red van stands on the left, so it narrows the road.\nSuggestion:\nSlow down.");
    label_answer(annotator, "Slow down and keep right.", "driving_suggestion");
    label_answer(annotator, "A cyclist, because he may cross.", "region_perception", "cyclist");
    label_answer(annotator, "The street is wet.");
  };
  const std::string good = read_file(resource("skills/driving.json"));
  use(good);
  EXPECT_GT(survive("skills.json bytes", 1000, [&](RandomStream& random) {
              use(damaged_bytes(good, random, json_pieces(), static_cast<int64_t>(good.size())));
            }), 20);
  const Json document = Json::parse(good);
  const int64_t taken = survive("skills.json values", 2000, [&](RandomStream& random) { use(damaged_json(document, random).dump()); });
  EXPECT_GT(taken, 20);
  EXPECT_LT(taken, 1900);
}

}  // namespace
}  // namespace mose::skills
