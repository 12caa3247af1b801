#include "mose/coda/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::coda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_of(const std::string& content) {
  TemporaryFolder dir;
  write_file(dir.path / "rows.jsonl", content);
  return message_of<DataError>([&] { read_rows(dir.path / "rows.jsonl"); });
}

TEST(Rows, ReadBackAsWritten) {
  TemporaryFolder dir;
  const auto file = dir.path / "region_perception_answer.jsonl";
  const std::vector<VqaRow> rows = {{0, "val/images/0001.jpg", "What is \"it\"?", "A truck.\nGrün.", "truck"},
                                    {7, "val/images/0002.jpg", "Why?", "", ""}};
  write_rows(file, rows);
  const auto read = read_rows(file);
  ASSERT_EQ(read.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read[i].question_id, rows[i].question_id);
    EXPECT_EQ(read[i].image, rows[i].image);
    EXPECT_EQ(read[i].question, rows[i].question);
    EXPECT_EQ(read[i].answer, rows[i].answer);
    EXPECT_EQ(read[i].label_name, rows[i].label_name);
  }
  EXPECT_THAT(read_file(file), HasSubstr("\"label_name\":\"truck\""));
}

TEST(Rows, MayLackAnAnswerAsTheTestSplitDoes) {
  TemporaryFolder dir;
  write_file(dir.path / "rows.jsonl", "{\"question_id\": 3, \"image\": \"a.jpg\", \"question\": \"q\"}\n");
  EXPECT_EQ(read_rows(dir.path / "rows.jsonl").at(0).answer, "");
}

TEST(Rows, WriteInvalidUtf8AsReadableText) {
  TemporaryFolder dir;
  write_rows(dir.path / "rows.jsonl", {{0, "a.jpg", "q", "broken \xC3", ""}});
  EXPECT_EQ(read_rows(dir.path / "rows.jsonl").at(0).answer, "broken \xEF\xBF\xBD");
}

TEST(Rows, ErrorsNameFileLineAndField) {
  const std::string good = "{\"question_id\": 1, \"image\": \"a.jpg\", \"answer\": \"x\"}\n";
  EXPECT_THAT(error_of(good + "{\"question_id\": 1}\n"), AllOf(HasSubstr("rows.jsonl:2"), HasSubstr("\"image\"")));
  EXPECT_THAT(error_of("{\"question_id\": \"1\", \"image\": \"a\"}"),
              AllOf(HasSubstr("rows.jsonl:1"), HasSubstr("question_id"), HasSubstr("expected an integer")));
  EXPECT_THAT(error_of(good + good + "{\"question_id\": 1, \"ima"),
              AllOf(HasSubstr("rows.jsonl:3"), HasSubstr("not valid JSON")));
  EXPECT_THAT(error_of("[1]"), HasSubstr("expected an object"));
  EXPECT_THROW(read_rows("/nonexistent/rows.jsonl"), DataError);
}

TEST(AnswerFile, IsNamedAfterTheTask) {
  EXPECT_EQ(answer_file("out", "region_perception"), "out/region_perception_answer.jsonl");
  EXPECT_THROW(answer_file("out", "regions"), UsageError);
}

}  // namespace
}  // namespace mose::coda
