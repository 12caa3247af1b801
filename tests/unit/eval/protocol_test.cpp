#include "mose/eval/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/python_source.h"
#include "mose/coda/annotation.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "support/helpers.h"

namespace mose::eval {
namespace {

using testing::HasSubstr;

TEST(ReadRating, TakesTheNumberInDoubleBrackets) {
  EXPECT_EQ(read_rating("Good. Rating: [[7]]", 1, 10), 7);
  EXPECT_EQ(read_rating("[[7.5]]", 1, 10), 7.5);
  EXPECT_EQ(read_rating("My rating is: [[ 10 ]].", 1, 10), 10);
  EXPECT_EQ(read_rating("I write [[rating]] as asked: [[3]]", 1, 10), 3);
}

TEST(ReadRating, PrefersTheOneAfterRatingAsTheOfficialScriptsDo) {
  EXPECT_EQ(read_rating("A [[2]] would be harsh. Rating: [[6]]", 1, 10), 6);
  EXPECT_EQ(read_rating("[[2]] no, the rating is: [[5]]", 1, 10), 5);
  EXPECT_EQ(read_rating("Rating: [[x]]; well, [[4]]", 1, 10), 4);
}

TEST(ReadRating, FindsNothingInWhatHoldsNoRatingOfTheScale) {
  for (const char* reply : {"", "7", "[7]", "[[]]", "[[seven]]", "[[11]]", "[[0]]", "[[-3]]",
                            "[[1e1]]", "[[7/10]]", "[[nan]]", "[[7", "Rating: [[70]]", "[[7 8]]"}) {
    EXPECT_EQ(read_rating(reply, 1, 10), std::nullopt) << reply;
  }
}

class OwnProtocol : public testing::Test {
 protected:
  std::string error(const std::function<void(Json&)>& change) {
    Json json = to_json(protocol);
    change(json);
    save_json(dir.path / "p.json", json);
    return message_of<DataError>([&] { load_protocol(dir.path / "p.json"); });
  }
  TemporaryFolder dir;
  const Protocol protocol = load_protocol(default_protocol());
};

TEST_F(OwnProtocol, MapsCategoriesAsTheRegionScoresDo) {
  for (const std::string& name : coda::category_names()) {
    EXPECT_EQ(protocol.region_class(name), coda::region_class(name)) << name;
  }
  EXPECT_EQ(protocol.region_class("Traffic Cone"), "cone");
  EXPECT_EQ(protocol.region_class("zeppelin"), "");
}

TEST_F(OwnProtocol, SurvivesItsFile) {
  save_json(dir.path / "p.json", to_json(protocol));
  EXPECT_EQ(load_protocol(dir.path / "p.json").sha256, protocol.sha256);
  EXPECT_FALSE(is_published(protocol));
}

TEST_F(OwnProtocol, ShowsExamplesAsTurnsAndItsOwnRatingsAreReadable) {
  const Json messages =
      judge_messages(protocol.tasks[0], "the {prediction} reference", "the answer");
  ASSERT_EQ(messages.size(), 6u);
  EXPECT_EQ(messages[0]["role"], "system");
  EXPECT_EQ(messages[4]["role"], "assistant");
  EXPECT_EQ(messages[5]["role"], "user");
  EXPECT_THAT(messages[5]["content"].get<std::string>(), HasSubstr("the {prediction} reference"));
  EXPECT_THAT(messages[5]["content"].get<std::string>(), HasSubstr("the answer"));
  for (const TaskProtocol& task : protocol.tasks) {
    for (const JudgeExample& e : task.examples)
      EXPECT_TRUE(read_rating(e.response, 1, 10)) << e.response;
  }
}

TEST_F(OwnProtocol, ErrorsNameTheField) {
  EXPECT_THAT(error([](Json& p) { p["format"] = "x"; }), HasSubstr("mose-protocol-1"));
  EXPECT_THAT(error([](Json& p) { p["request"]["temperature"] = 1; }),
              HasSubstr("changed after it was pinned"));
  EXPECT_THAT(error([](Json& p) { p["tasks"].erase("region_perception"); }),
              HasSubstr("\"region_perception\" is missing"));
  EXPECT_THAT(error([](Json& p) { p["tasks"]["driving_suggestion"]["form"] = "{reference}"; }),
              HasSubstr("{prediction} once"));
  EXPECT_THAT(
      error([](Json& p) { p["tasks"]["driving_suggestion"]["examples"][0].erase("response"); }),
      HasSubstr("driving_suggestion.examples[0]"));
  EXPECT_THAT(error([](Json& p) { p["scale"] = {10, 1}; }), HasSubstr("scale"));
  EXPECT_THAT(error([](Json& p) { p["request"]["stream"] = true; }), HasSubstr("\"stream\""));
  EXPECT_THAT(error([](Json& p) { p["categories"]["vehicle"] = Json::array({3}); }),
              HasSubstr("categories.vehicle"));
}

std::vector<Json> assigned(const std::string& source, const std::string& name) {
  return PythonSource(source, "x.py").assigned(name);
}

TEST(PythonSource, ReadsLiterals) {
  EXPECT_EQ(assigned("a = 'it\\'s'", "a"), std::vector<Json>{"it's"});
  EXPECT_EQ(assigned("a = \"\\x41\\u00e9\\n\\q\"", "a"), std::vector<Json>{"A\u00e9\n\\q"});
  EXPECT_EQ(assigned("a = '''two\nlines'''", "a"), std::vector<Json>{"two\nlines"});
  EXPECT_EQ(assigned("a = r'raw\\n'", "a"), std::vector<Json>{"raw\\n"});
  EXPECT_EQ(assigned("a = ('one '\n     'two')", "a"), std::vector<Json>{"one two"});
  EXPECT_EQ(assigned("a = 'one' \\\n  'two'\n'three'", "a"), std::vector<Json>{"onetwo"});
  EXPECT_EQ(assigned("a = {'k': [1, 2.5, True, None,], }", "a"),
            std::vector<Json>{Json::parse(R"({"k": [1, 2.5, true, null]})")});
  EXPECT_EQ(assigned("def f(a=0, b=1): pass", "a"), std::vector<Json>{0});
}

TEST(PythonSource, PassesOverWhatIsNoLiteralAssignment) {
  for (const char* source :
       {"# a = 'x'", "s = \"a = 'x'\"", "a == 'x'", "a = f'x'", "a = b", "a = 'x'.upper()",
        "a = 'x' + y", "b.a = 'x'", "aa = 'x'", "a = [b]"}) {
    EXPECT_TRUE(assigned(source, "a").empty()) << source;
  }
  EXPECT_EQ(assigned("self.a = 'x'\na = 'y'", "self.a"), std::vector<Json>{"x"});
}

TEST(PythonSource, ErrorsNameTheLine) {
  EXPECT_THAT(message_of<DataError>([] { PythonSource("\n\na = 'x\n", "x.py"); }),
              HasSubstr("x.py:3"));
  EXPECT_THAT(message_of<DataError>([] { PythonSource("a = '''x", "x.py"); }),
              HasSubstr("without end"));
  EXPECT_THAT(message_of<DataError>([] { PythonSource("a = '\\ud800'", "x.py"); }),
              HasSubstr("not a character"));
}

}  // namespace
}  // namespace mose::eval
