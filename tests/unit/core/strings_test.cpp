#include "mose/core/strings.h"

#include <gmock/gmock.h>

namespace mose {
namespace {

using testing::ElementsAre;

TEST(Strings, SplitAndJoinAreInverse) {
  EXPECT_THAT(split("a,,b,", ','), ElementsAre("a", "", "b", ""));
  EXPECT_THAT(split("", ','), ElementsAre(""));
  for (const char* text : {"", "a", "a,b", ",a,,b,"}) EXPECT_EQ(join(split(text, ','), ","), text);
}

TEST(Strings, TrimLowerAndReplace) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n "), "");
  EXPECT_EQ(to_lower("ÄBC-Z9"), "Äbc-z9");  // ASCII letters only
  EXPECT_EQ(replace_all("aaa", "a", "aa"), "aaaaaa");
  EXPECT_EQ(replace_all("{x} and {x}", "{x}", "1"), "1 and 1");
}

TEST(Strings, HtmlEscapeCoversTextAndAttributes) {
  EXPECT_EQ(html_escape("<a href=\"x\">&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
}

TEST(NearestName, FindsASlipAndRefusesAnotherWord) {
  const std::vector<std::string> names = {"layers", "dropout", "learning_rate"};
  EXPECT_EQ(nearest_name("layer", names), "layers");
  EXPECT_EQ(nearest_name("learning-rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("momentum", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(HumanNumbers, ArePrintedWithTheirUnits) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(9999), "9999");
  EXPECT_EQ(human_count(12'345), "12.3 k");
  EXPECT_EQ(human_count(1'234'567), "1.23 M");
  EXPECT_EQ(human_count(2.7e9), "2.700 B");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1.5 * 1024 * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(human_seconds(4.2), "4.2 s");
  EXPECT_EQ(human_seconds(185), "3 min 05 s");
  EXPECT_EQ(human_seconds(3725), "1 h 02 min");
}

TEST(HumanNumbers, NeverRoundIntoTheNextUnit) {
  EXPECT_EQ(human_seconds(59.97), "1 min 00 s");
  EXPECT_EQ(human_seconds(3599.6), "1 h 00 min");
}

TEST(Strings, FixedHasTheDecimalsAskedFor) {
  EXPECT_EQ(fixed(1.005, 0), "1");
  EXPECT_EQ(fixed(-0.126, 2), "-0.13");
}

}  // namespace
}  // namespace mose
