#include "mose/skills/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "helpers.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::skills {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(InspectText, ShowsTheAnswerAndEveryLabel) {
  const auto all = test::samples();
  const Sample& s = test::sample(all, "val_0001/single");
  const std::string text = inspect_text(s, test::taxonomy(), false);
  EXPECT_THAT(text, HasSubstr(s.answer));
  EXPECT_THAT(text, HasSubstr(s.question));
  EXPECT_THAT(text, HasSubstr("lex.lateral"));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
}

TEST(InspectText, ColoursStagesAndUnderlinesSkills) {
  const auto all = test::samples();
  const std::string text = inspect_text(test::sample(all, "val_0001/single"), test::taxonomy(), true);
  EXPECT_THAT(text, HasSubstr("\033[36mDescription:\033[0m"));       // a stage alone
  EXPECT_THAT(text, HasSubstr("\033[32m\033[4mSlow down\033[0m"));  // a stage and a skill
}

TEST(InspectHtml, HoldsTheImageTheBoxesAndTheEscapedAnswer) {
  TemporaryFolder dir;
  test::write_annotation(dir.path, test::annotation_json());
  auto all = test::samples();
  Sample s = test::sample(all, "val_0001/single");
  s.question = "<b>&";
  const std::string html = inspect_html(s, test::taxonomy(), dir.path);
  EXPECT_THAT(html, HasSubstr("src=\"data:image/jpeg;base64,/9j/4AAEAAD/wAALCAFoAoABAREA\""));  // the 21-byte picture
  EXPECT_THAT(html, HasSubstr("viewBox=\"0 0 640 360\""));
  EXPECT_THAT(html, HasSubstr("<rect x=\"100\" y=\"80\" width=\"90\" height=\"60\""));
  EXPECT_THAT(html, HasSubstr("&lt;b&gt;&amp;"));
}

TEST(InspectHtml, NamesAMissingImage) {
  const auto all = test::samples();
  EXPECT_THROW(inspect_html(all[0], test::taxonomy(), "/nonexistent"), DataError);
}

}  // namespace
}  // namespace mose::skills
