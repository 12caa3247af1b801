#include "mose/eval/submission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "support/helpers.h"
#include "tiny_set.h"

namespace mose::eval {
namespace {

using testing::HasSubstr;

struct SubmissionTest : testing::Test {
  SubmissionTest() {
    options.root = set.root;
    options.split = "Test";
    options.answers = set.answers;
  }
  // What is said of a file after `change` of its rows.
  std::string refused(const char* task,
                      const std::function<void(std::vector<coda::VqaRow>&)>& change) {
    set.write_answers(set.answers);
    auto rows = coda::read_rows(coda::answer_file(set.answers, task));
    change(rows);
    coda::write_rows(coda::answer_file(set.answers, task), rows);
    return message_of<DataError>([&] { make_submission(options); });
  }
  TinySet set;
  SubmissionOptions options;
};

TEST_F(SubmissionTest, HoldsTheThreeFilesAndIsTheSameEachTime) {
  const Submission made = make_submission(options);
  EXPECT_THAT(made.counts,
              testing::ElementsAre(testing::Pair("general_perception_answer.jsonl", 3),
                                   testing::Pair("region_perception_answer.jsonl", 3),
                                   testing::Pair("driving_suggestion_answer.jsonl", 3)));
  // tests/integration/submission.py opens it; here the format's frame (APPNOTE 4.3): a local header
  // first, and the end record that counts three entries.
  EXPECT_EQ(made.archive.substr(0, 4), "PK\x03\x04");
  const std::string end = made.archive.substr(made.archive.size() - 22);
  EXPECT_EQ(end.substr(0, 4), "PK\x05\x06");
  EXPECT_EQ(end[10], 3);
  EXPECT_EQ(make_submission(options).archive, made.archive);
}

TEST_F(SubmissionTest, WhatTheChallengeWouldNotTakeIsRefusedWithCounts) {
  EXPECT_THAT(
      refused("driving_suggestion", [](auto& rows) { rows.erase(rows.begin(), rows.begin() + 2); }),
      HasSubstr("2 answers are missing, first: test_0001"));
  EXPECT_THAT(refused("general_perception", [](auto& rows) { rows[1].answer = " "; }),
              HasSubstr("1 answers are empty, first: test_0002"));
  EXPECT_THAT(refused("general_perception", [](auto& rows) { rows.push_back(rows[0]); }),
              HasSubstr("1 questions answered twice"));
  EXPECT_THAT(
      refused("general_perception", [](auto& rows) { rows[0].image = "test/images/0009.jpg"; }),
      HasSubstr("belong to no question"));
  EXPECT_THAT(refused("region_perception", [](auto& rows) { rows[2].label_name = ""; }),
              HasSubstr("question_id 2: label_name"));
  set.write_answers(set.answers);
  fs::remove(coda::answer_file(set.answers, "general_perception"));
  EXPECT_THAT(message_of<DataError>([&] { make_submission(options); }),
              HasSubstr("general_perception_answer.jsonl"));
}

TEST_F(SubmissionTest, IncompleteAnswersPassWhenAllowed) {
  auto rows = coda::read_rows(coda::answer_file(set.answers, "driving_suggestion"));
  rows.pop_back();
  coda::write_rows(coda::answer_file(set.answers, "driving_suggestion"), rows);
  options.incomplete = true;
  EXPECT_EQ(make_submission(options).counts[2].second, 2);
}

}  // namespace
}  // namespace mose::eval
