#include <gtest/gtest.h>

#include "mose/bench/benchmarks.h"
#include "mose/bench/peer.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::bench {
namespace {

Report one_row() {
  Report report;
  Row row{"work", "large", "peer", 2, 5, 0.25, 0.5, {{"threads", 2}}};
  report.rows = {row};
  row.limit_share.reset();
  report.rows.push_back(row);
  return report;
}

TEST(Report, JsonHasTheFormThatScriptsReadAndWhatElseARowSays) {
  const Json rows = to_json(one_row());
  EXPECT_EQ(rows.dump(),
            R"([{"name":"work","shape":"large","peer":"peer","ours_ms":2.0,"peer_ms":5.0,"ratio":2.5,"noise":0.25,"limit_share":0.5,"threads":2},)"
            R"({"name":"work","shape":"large","peer":"peer","ours_ms":2.0,"peer_ms":5.0,"ratio":2.5,"noise":0.25,"limit_share":null,"threads":2}])");
}

TEST(Report, TablesNameWhatCouldNotBeCompared) {
  Report report = one_row();
  report.missing.push_back({"work", "another", "not installed"});
  for (const std::string& text : {table(report), markdown(report, {}, "mose-bench work")}) {
    EXPECT_NE(text.find("2.50"), std::string::npos) << text;
    EXPECT_NE(text.find("work, another: not installed"), std::string::npos) << text;
  }
}

TEST(Benchmarks, UnknownNamesAreRefusedBeforeAnythingRuns) {
  const std::string message = message_of<UsageError>([] { run_benchmarks({"tokeniser"}, {}); });
  EXPECT_NE(message.find("did you mean \"tokenizer\"?"), std::string::npos) << message;
}

TEST(Peer, PythonThatIsNotThereIsNamed) {
  const std::string message = message_of<Error>([] { Peer("/nowhere/python", "machine", 1); });
  EXPECT_NE(message.find("/nowhere/python"), std::string::npos) << message;
}

TEST(Peer, ProcessThatSpeaksNoJsonOrDiesIsAnError) {
  Peer peer("/bin/false", "machine", 1);
  const std::string message = message_of<Error>([&] { peer.call("versions"); });
  EXPECT_NE(message.find("the process ended"), std::string::npos) << message;
}

}  // namespace
}  // namespace mose::bench
