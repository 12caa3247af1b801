// A program as a user meets it, each in a process of its own: exit codes, stdout and stderr.
#include "mose/core/program.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "support/helpers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/signals.h"
#include "mose/core/strings.h"

namespace mose {
namespace {

using testing::HasSubstr;

struct Result {
  int code;
  std::string out, err;
};

void define(CLI::App& app) {
  auto fail = [&app](const char* name, auto error) {
    app.add_subcommand(name, "fails")->callback([error] { throw error; });
  };
  fail("runtime", Error("a runtime error"));
  fail("usage", UsageError("a usage error"));
  fail("data", DataError("a data error"));
  fail("divergence", DivergenceError("a divergence"));
  fail("unknown", std::runtime_error("an unforeseen error"));
  app.require_subcommand(1);
  app.add_subcommand("ok", "prints")->callback([] { std::cout << "a result\n"; });
  app.add_subcommand("long", "prints much")->callback([] {
    std::cout << std::string(1 << 20, 'x');
  });
  app.add_subcommand("stopped", "gets a signal")->callback([] {
    std::raise(SIGTERM);
    throw_if_stopped();
  });
}

// Runs run_program in a child, with stdout to a file, or to `output`.
Result run(const std::vector<std::string>& arguments, const char* output = nullptr) {
  const TemporaryFolder folder;
  const std::string out = output ? output : (folder.path / "out").string();
  const std::string err = (folder.path / "err").string();
  const pid_t child = fork();
  if (child == 0) {
    dup2(open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    std::vector<std::string> words = {"mose-test"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    ProgramInfo info{"mose-test", "A program of the tests.",
                     [] { return std::string("Library 1.2"); }};
    const int code = run_program(static_cast<int>(argv.size()), argv.data(), info, define);
    std::cout.flush();
    std::fflush(nullptr);
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), output ? "" : read_file(out),
          read_file(err)};
}

TEST(Program, EachErrorHasItsExitCodeAndOneLineOnStderr) {
  const std::pair<const char*, std::pair<int, const char*>> cases[] = {
      {"runtime", {1, "mose-test: a runtime error\n"}},
      {"usage", {2, "mose-test: a usage error\n"}},
      {"data", {3, "mose-test: a data error\n"}},
      {"divergence", {4, "mose-test: a divergence\n"}},
      {"unknown", {1, "mose-test: unexpected error: an unforeseen error\n"}}};
  for (const auto& [command, expected] : cases) {
    const Result result = run({command});
    EXPECT_EQ(result.code, expected.first) << command;
    EXPECT_EQ(result.err, expected.second) << command;
    EXPECT_EQ(result.out, "");
  }
}

TEST(Program, ResultsGoToStdout) {
  const Result result = run({"ok"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, "a result\n");
  EXPECT_EQ(result.err, "");
}

TEST(Program, AFullDiskBehindStdoutIsAnError) {
  for (const char* command : {"ok", "long"}) {
    const Result result = run({command}, "/dev/full");
    EXPECT_EQ(result.code, 1);
    EXPECT_THAT(result.err, HasSubstr("cannot write to standard output"));
  }
}

TEST(Program, AWrongCommandLineIsCodeTwo) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--no-such-option"},
                                             {"no-such-command"},
                                             {"--log-level"},
                                             {"ok", "--log-level", "loud"}}) {
    const Result result = run(words);
    EXPECT_EQ(result.code, 2) << join(words, " ");
    EXPECT_NE(result.err, "");
  }
}

TEST(Program, AMisspeltCommandIsNamedWithItsNearest) {
  const Result result = run({"runtme"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("\"runtme\""), HasSubstr("did you mean \"runtime\"")));
}

TEST(Program, HelpAndVersionGoToStdoutWithCodeZero) {
  const Result help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("A program of the tests."), HasSubstr("--log-level"),
                              HasSubstr("divergence")));
  const Result version_text = run({"--version"});
  EXPECT_EQ(version_text.code, 0);
  EXPECT_EQ(version_text.out, "mose-test " + version() + "\nLibrary 1.2\n");
  EXPECT_THAT(version(), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+ \\(git [0-9a-z]+\\)"));
}

TEST(Program, ASignalEndsItWithItsNumberPlus128) {
  const Result result = run({"stopped"});
  EXPECT_EQ(result.code, 128 + SIGTERM);
  EXPECT_THAT(result.err, HasSubstr("signal 15"));
}

}  // namespace
}  // namespace mose
