// What the judge behind a server is made of, without a server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <cstdlib>
#include <set>
#include <thread>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/eval/cost.h"
#include "mose/eval/openai.h"
#include "mose/eval/rate_limit.h"
#include "mose/eval/recorded.h"
#include "mose/eval/verdict_cache.h"
#include "support/helpers.h"

namespace mose::eval {
namespace {

using testing::HasSubstr;

TEST(RateLimit, SpacesRequestsEvenlyOverTheMinute) {
  RateLimit limit(600);  // 0.1 s apart
  double time = 100;
  for (int i = 0; i < 50; ++i) {
    time = std::max(time, limit.next());
    EXPECT_GE(time, 100 + 0.1 * i - 0.051) << i;
    limit.take(time);
  }
  EXPECT_LE(time, 100 + 0.1 * 50);
}

TEST(RateLimit, DoesNotSaveUpWhatWasNotUsed) {
  RateLimit limit(60);
  limit.take(0);
  limit.take(100);
  EXPECT_GE(limit.next(), 100.9);
}

TEST(RateLimit, HoldsWhenTheServerAsksTo) {
  RateLimit limit(0);
  limit.take(1);
  EXPECT_LE(limit.next(), 1);
  limit.hold_until(7);
  limit.hold_until(5);
  EXPECT_EQ(limit.next(), 7);
}

TEST(RetryDelay, DoublesUpToAMinuteLessARandomHalf) {
  EXPECT_EQ(retry_delay(1, 1, 0, 0), 1);
  EXPECT_EQ(retry_delay(4, 1, 0, 0), 8);
  EXPECT_NEAR(retry_delay(4, 1, 0, 0.999), 4, 0.01);
  EXPECT_EQ(retry_delay(30, 1, 0, 0), 60);
  EXPECT_EQ(retry_delay(1, 1, 20, 0.5), 20);
}

TEST(BaseUrl, IsAnAddressWithoutSecrets) {
  EXPECT_EQ(check_base_url("http://127.0.0.1:8000/v1/"), "http://127.0.0.1:8000/v1");
  EXPECT_EQ(check_base_url("https://api.openai.com/v1"), "https://api.openai.com/v1");
  for (const char* bad : {"", "localhost", "ftp://host/v1", "http://", "http://host/v1?key=x",
                          "http://host/#x", "http://host:99999/"}) {
    EXPECT_THROW(check_base_url(bad), UsageError) << bad;
  }
  const std::string message =
      message_of<UsageError>([] { check_base_url("https://me:secret@host/v1"); });
  EXPECT_THAT(message, HasSubstr("host/v1"));
  EXPECT_THAT(message, testing::Not(HasSubstr("secret")));
}

TEST(JudgeKey, ComesFromAFileOrTheEnvironment) {
  TemporaryFolder dir;
  write_file(dir.path / "key", " sk-1 \nmore\n");
  EXPECT_EQ(read_judge_key(dir.path / "key", "MOSE_TEST_KEY", true), "sk-1");
  ::unsetenv("MOSE_TEST_KEY");
  EXPECT_EQ(read_judge_key("", "MOSE_TEST_KEY", false), "");
  EXPECT_THAT(message_of<UsageError>([] { read_judge_key("", "MOSE_TEST_KEY", true); }),
              HasSubstr("MOSE_TEST_KEY"));
  ::setenv("MOSE_TEST_KEY", "sk-2", 1);
  EXPECT_EQ(read_judge_key("", "MOSE_TEST_KEY", true), "sk-2");
  ::setenv("MOSE_TEST_KEY", "sk-\r\nX-Header: 1", 1);
  const std::string message =
      message_of<UsageError>([] { read_judge_key("", "MOSE_TEST_KEY", true); });
  EXPECT_THAT(message, testing::Not(HasSubstr("sk-")));
  ::unsetenv("MOSE_TEST_KEY");
}

TEST(ParseCompletion, SaysWhatIsWrong) {
  std::string problem;
  const auto good = parse_completion(
      R"({"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}})",
      problem);
  ASSERT_TRUE(good);
  EXPECT_EQ(good->text, "x");
  EXPECT_EQ(good->prompt_tokens, 3);
  EXPECT_EQ(good->completion_tokens, 4);
  EXPECT_EQ(parse_completion(R"({"choices":[{"message":{"content":null}}]})", problem)->text, "");
  const std::pair<const char*, const char*> bad[] = {
      {"<html>", "not JSON"},
      {"[1]", "not JSON"},
      {R"({"error":{"message":"too long"}})", "too long"},
      {R"({"choices":[]})", "choices[0]"},
      {R"({"choices":{"a":1}})", "choices[0]"},
      {R"({"choices":[{"message":{"content":[1]}}]})", "choices[0]"}};
  for (const auto& [body, says] : bad) {
    EXPECT_FALSE(parse_completion(body, problem)) << body;
    EXPECT_THAT(problem, HasSubstr(says));
  }
}

class Cache : public testing::Test {
 protected:
  std::string key(const std::string& answer, int64_t repeat = 0) const {
    return verdict_key("m", "p", {question, answer, repeat});
  }
  TemporaryFolder dir;
  const std::filesystem::path file = dir.path / "v.sqlite";
  Question question{"driving_suggestion", "val_0001", "", 7, "val/images/0001.jpg", "Stop.", ""};
};

TEST_F(Cache, KeepsVerdictsForTheNextOpening) {
  const std::string answer = "Stop \xF0\x9F\x9A\xA6 now.", other = "Go.";
  {
    VerdictCache cache(file);
    EXPECT_FALSE(cache.find(key(answer)));
    cache.store(key(answer), "m", "p", {question, answer}, {70.0, "Good.", 10, 5});
    cache.store(key(other), "m", "p", {question, other}, {std::nullopt, "Hm.", 8, 3});
  }
  VerdictCache cache(file);
  EXPECT_EQ(cache.size(), 2);
  EXPECT_EQ(cache.find(key(answer))->score, 70.0);
  EXPECT_EQ(cache.find(key(answer))->reply, "Good.");
  EXPECT_EQ(cache.find(key(other))->score, std::nullopt);
  EXPECT_EQ(cache.mean_completion_tokens("m"), 4);
  EXPECT_EQ(cache.mean_completion_tokens("n"), std::nullopt);
}

TEST_F(Cache, ManyMayOpenOneAtOnce) {
  constexpr int kTimes = 40, kAtOnce = 6;
  for (int time = 0; time < kTimes; ++time) {
    const auto shared = dir.path / (std::to_string(time) + ".sqlite");
    std::barrier start(kAtOnce);
    std::vector<std::string> errors(kAtOnce);
    std::vector<std::thread> threads;
    for (int i = 0; i < kAtOnce; ++i) {
      threads.emplace_back([&, i] {
        start.arrive_and_wait();
        try {
          VerdictCache cache(shared);
          const std::string answer = std::to_string(i);
          cache.store(key(answer), "m", "p", {question, answer}, {50.0, "Five.", 10, 2});
        } catch (const std::exception& e) {
          errors[static_cast<size_t>(i)] = e.what();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors) EXPECT_EQ(error, "");
    EXPECT_EQ(VerdictCache(shared).size(), kAtOnce);
  }
}

TEST_F(Cache, TheFirstReadableVerdictStays) {
  VerdictCache cache(file), another(file);
  const std::string answer = "Stop.";
  cache.store(key(answer), "m", "p", {question, answer}, {std::nullopt, "Hm.", 10, 2});
  another.store(key(answer), "m", "p", {question, answer}, {60.0, "Six.", 10, 2});
  cache.store(key(answer), "m", "p", {question, answer}, {90.0, "Nine.", 10, 2});
  EXPECT_EQ(cache.find(key(answer))->score, 60.0);
  EXPECT_EQ(cache.find(key(answer))->prompt_tokens, 20);
}

TEST_F(Cache, KeysDependOnAllThatTheVerdictDoes) {
  std::set<std::string> keys = {key("a"), key("b"), key("a", 1),
                                verdict_key("n", "p", {question, "a"}),
                                verdict_key("m", "q", {question, "a"})};
  for (auto change : {&Question::task, &Question::id, &Question::region, &Question::reference}) {
    Question other = question;
    other.*change += "x";
    keys.insert(verdict_key("m", "p", {other, "a"}));
  }
  // Fields that run into each other when they are only put side by side.
  Question moved = question;
  moved.reference = "Stop";
  keys.insert(verdict_key("m", "p", {moved, ".a"}));
  EXPECT_EQ(keys.size(), 10u);
  Question elsewhere = question;
  elsewhere.question_id = 8;
  EXPECT_EQ(verdict_key("m", "p", {elsewhere, "a"}), key("a"));
}

TEST(Prices, AreForAMillionTokens) {
  TemporaryFolder dir;
  const auto file = dir.path / "prices.json";
  write_file(file, R"({"currency": "USD", "models": {"m": {"input": 2.5, "output": 10}}})");
  const Prices prices = load_prices(file);
  EXPECT_EQ(prices.cost("m", 1e6, 1e5), 3.5);
  EXPECT_TRUE(prices.cost("n", 1, 1).is_null());
  write_file(file, R"({"currency": "USD", "models": {"m": {"input": -1, "output": 10}}})");
  EXPECT_THAT(message_of<DataError>([&] { load_prices(file); }), HasSubstr("models.m"));
}

TEST(TokenCounter, EstimatesAQuarterOfTheBytes) {
  const TokenCounter counter("");
  EXPECT_EQ(counter.count(""), 0);
  EXPECT_EQ(counter.count("abcde"), 2);
  EXPECT_EQ(counter.count_messages(Json::parse(R"([{"content": "abcd"}, {"content": "ab"}])")),
            3 + 5 + 5);
  EXPECT_THAT(counter.how(), HasSubstr("quarter"));
}

TEST(Recording, ErrorsNameTheLine) {
  TemporaryFolder dir;
  const auto file = dir.path / "r.jsonl";
  const auto error = [&](const std::string& line) {
    write_file(file, R"({"task": "driving_suggestion", "id": "val_0001", "judge": "j", "score": 5})"
                     "\n" +
                         line);
    return message_of<DataError>([&] { load_recording(file); });
  };
  EXPECT_THAT(error("{"), HasSubstr("r.jsonl:2"));
  EXPECT_THAT(error(R"({"task": "driving_suggestion", "id": "val_0002", "score": 5})"),
              HasSubstr("\"judge\""));
  EXPECT_THAT(
      error(R"({"task": "driving_suggestion", "id": "val_0001", "judge": "j", "score": 6})"),
      HasSubstr("second verdict"));
  EXPECT_THAT(error(R"({"task": "driving", "id": "val_0002", "judge": "j", "score": 5})"),
              HasSubstr("\"task\""));
  EXPECT_THAT(
      error(R"({"task": "driving_suggestion", "id": "val_0002", "judge": "j", "score": 101})"),
      HasSubstr("0 to 100"));
  write_file(file, "\n");
  EXPECT_THAT(message_of<DataError>([&] { load_recording(file); }), HasSubstr("holds no verdict"));
}

}  // namespace
}  // namespace mose::eval
