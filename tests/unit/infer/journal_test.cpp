#include "infer/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "support/damage.h"
#include "support/helpers.h"

namespace mose::infer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Json kPrediction = {{"model", "abc"}, {"blind", false}, {"sampling", {{"seed", 1}, {"temperature", 0.5}}}};

StoredAnswer answer(size_t item) {
  return {item, {3, 1, static_cast<int64_t>(item)}, item % 2 == 0, 90, 40, 1, 0.25 * static_cast<double>(item)};
}

void expect_answer(const StoredAnswer& found, size_t item) {
  const StoredAnswer expected = answer(item);
  EXPECT_EQ(found.item, item);
  EXPECT_EQ(found.tokens, expected.tokens);
  EXPECT_EQ(found.finished, expected.finished);
  EXPECT_EQ(found.prompt_tokens, 90);
  EXPECT_EQ(found.shared_tokens, 40);
  EXPECT_EQ(found.image_encodings, 1);
  EXPECT_EQ(found.seconds, expected.seconds);
}

TEST(Journal, GivesBackWhatWasStoredAndGoesOnBehindIt) {
  const TemporaryFolder folder;
  const auto file = folder.path / "new" / "journal.jsonl";
  {
    Journal journal(file, kPrediction, 10);
    EXPECT_TRUE(journal.stored().empty());
    EXPECT_FALSE(std::filesystem::exists(file)) << "a file without an answer";
    for (const size_t i : {4, 2, 9}) journal.append(answer(i));
  }
  // A crash in the middle of a line.
  write_file(file, read_file(file) + "{\"item\": 5, \"tok");
  {
    Journal journal(file, kPrediction, 10);
    ASSERT_EQ(journal.stored().size(), 3u);
    expect_answer(journal.stored()[0], 4);
    expect_answer(journal.stored()[2], 9);
    journal.append(answer(5));
    journal.close();
  }
  Journal journal(file, kPrediction, 10);
  ASSERT_EQ(journal.stored().size(), 4u);
  expect_answer(journal.stored()[3], 5);
  journal.remove();
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST(Journal, RefusesAnotherPredictionAndNamesWhatDiffers) {
  const TemporaryFolder folder;
  const auto file = folder.path / "journal.jsonl";
  Journal(file, kPrediction, 10).append(answer(1));
  Json other = kPrediction;
  other["sampling"]["seed"] = 2;
  other["blind"] = true;
  EXPECT_THAT(message_of<UsageError>([&] { Journal(file, other, 10); }),
              AllOf(HasSubstr(file.string()), HasSubstr("sampling.seed (1 there, 2 now)"), HasSubstr("blind (false there, true now)"),
                    Not(HasSubstr("temperature"))));
}

TEST(Journal, RefusesMalformedLines) {
  const TemporaryFolder folder;
  const auto file = folder.path / "journal.jsonl";
  Journal(file, kPrediction, 10).append(answer(1));
  const std::string good = read_file(file), line = good.substr(good.find('\n') + 1);
  const auto refused = [&](const std::string& content) {
    write_file(file, content);
    return message_of<DataError>([&] { Journal(file, kPrediction, 10); });
  };
  EXPECT_THAT(refused(good + line), AllOf(HasSubstr(":3"), HasSubstr("second answer to question 1")));
  EXPECT_THAT(refused(replace_all(good, "\"item\":1", "\"item\":10")), AllOf(HasSubstr(":2"), HasSubstr("10 questions")));
  EXPECT_THAT(refused(good + "nothing\n"), AllOf(HasSubstr(":3"), HasSubstr("not valid JSON")));
  EXPECT_THAT(refused(line), AllOf(HasSubstr(":1"), HasSubstr("prediction")));
}

TEST(Journal, SaysThatTheDiskIsFull) {
  Journal journal("/dev/full", kPrediction, 10);
  journal.append(answer(1));
  EXPECT_THAT(message_of<Error>([&] { journal.close(); }), AllOf(HasSubstr("/dev/full"), HasSubstr("No space left")));
}

TEST(Journal, SurvivesDamage) {
  const TemporaryFolder folder;
  const auto file = folder.path / "journal.jsonl";
  {
    Journal journal(file, kPrediction, 10);
    for (size_t i = 0; i < 5; ++i) journal.append(answer(i));
  }
  const std::string good = read_file(file);
  survive("journal", 500, [&](RandomStream& random) {
    write_quickly(file, damaged_bytes(good, random, json_pieces()));
    try {
      Journal journal(file, kPrediction, 10);
      for (const auto& a : journal.stored()) EXPECT_LT(a.item, 10u);
    } catch (const UsageError&) {  // another prediction
    }
  });
}

}  // namespace
}  // namespace mose::infer
