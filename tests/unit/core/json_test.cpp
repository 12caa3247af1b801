#include "mose/core/json.h"

#include <gmock/gmock.h>

#include "support/helpers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"

namespace mose {
namespace {

using testing::HasSubstr;

TEST(Json, KeepsTheOrderOfKeysThroughAFile) {
  const TemporaryFolder folder;
  const std::string text = R"({"z":1,"a":{"y":[1.5,"é",null],"b":true}})";
  save_json(folder.path / "x.json", parse_json(text, "test"), -1);
  EXPECT_EQ(read_file(folder.path / "x.json"), text + "\n");
  EXPECT_EQ(load_json(folder.path / "x.json").dump(), text);
}

TEST(Json, MalformedTextIsADataErrorWithFileLineAndColumn) {
  EXPECT_THAT(message_of<DataError>([] { parse_json("[1e999]", "file.json"); }), HasSubstr("file.json"));
  EXPECT_THAT(message_of<DataError>([] { parse_json("{\"a\": 1,\n \"b\": }", "file.json"); }),
              AllOf(HasSubstr("file.json"), HasSubstr("line 2"), HasSubstr("column")));
  for (const char* truncated :
       {"", "{", "{\"a\"", "{\"a\": [1, 2", "\"text", "{} extra", "nul", "\"\xff\""}) {
    EXPECT_THAT(message_of<DataError>([&] { parse_json(truncated, "file.json"); }),
                HasSubstr("file.json"))
        << truncated;
  }
}

TEST(Json, MalformedLongTextsAreCutInTheMessage) {
  for (const std::string letter : {"a", "é", "€"}) {
    std::string text = "[\"";
    for (int i = 0; i < 3000; ++i) text += letter;
    const std::string message = message_of<DataError>([&] { parse_json(text, "file.json"); });
    EXPECT_LT(message.size(), 300U);
    EXPECT_THAT(message, AllOf(HasSubstr("file.json: not valid JSON: parse error at line 1"), HasSubstr("missing closing quote"), HasSubstr(" ... ")));
    EXPECT_NO_THROW(Json(message).dump()) << "a character was cut in two";
  }
}

TEST(Json, AMissingFieldAndAWrongTypeNameFileKeyExpectedAndFound) {
  const Json object = Json::parse(
      R"({"text": "t", "number": 1.5, "int": 3, "list": [], "object": {}, "huge": 18446744073709551615})");
  EXPECT_EQ(json_string(object, "text", "f"), "t");
  EXPECT_EQ(json_number(object, "int", "f"), 3.0);
  EXPECT_EQ(json_int(object, "int", "f"), 3);
  EXPECT_TRUE(json_array(object, "list", "f").empty());
  EXPECT_TRUE(json_object(object, "object", "f").empty());
  EXPECT_THAT(message_of<DataError>([&] { json_string(object, "none", "f.json"); }),
              AllOf(HasSubstr("f.json"), HasSubstr("\"none\" is missing")));
  EXPECT_THAT(message_of<DataError>([&] { json_string(object, "int", "f.json"); }),
              AllOf(HasSubstr("\"int\""), HasSubstr("a string"), HasSubstr("number 3")));
  EXPECT_THAT(message_of<DataError>([&] { json_int(object, "number", "f"); }),
              HasSubstr("an integer"));
  EXPECT_THAT(message_of<DataError>([&] { json_int(object, "huge", "f"); }), HasSubstr("64 bits"));
  EXPECT_THAT(message_of<DataError>([&] { json_number(object, "text", "f"); }),
              HasSubstr("a number"));
  EXPECT_THAT(message_of<DataError>([&] { json_array(object, "object", "f"); }),
              HasSubstr("an array"));
  EXPECT_THAT(message_of<DataError>([&] { json_object(object, "list", "f"); }),
              HasSubstr("an object"));
  EXPECT_THAT(message_of<DataError>([&] { json_at(Json::array(), "k", "f"); }),
              HasSubstr("an object"));
}

}  // namespace
}  // namespace mose
