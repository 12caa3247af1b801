#include "mose/core/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "support/helpers.h"
#include "mose/core/error.h"

namespace mose {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(WriteFile, ReplacesTheFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  const fs::path path = folder.path / "new" / "file";
  const std::string bytes("a\0b\n", 4);
  write_file(path, "before");
  write_file(path, bytes);
  EXPECT_EQ(read_file(path), bytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator()), 1);
}

TEST(AtomicFile, NothingAppearsBeforeCommitAndTheOldContentStaysWithoutIt) {
  const TemporaryFolder folder;
  const fs::path path = folder.path / "file";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new content");
    EXPECT_EQ(read_file(path), "old");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.entries(), 1);  // the temporary file is gone
  AtomicFile file(path);
  file.write("new ");
  file.write("content");
  file.commit();
  EXPECT_EQ(read_file(path), "new content");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, AReaderSeesTheOldOrTheNewFileNeverAPart) {
  const TemporaryFolder folder;
  const fs::path path = folder.path / "file";
  const std::string a(100'000, 'a'), b(100'000, 'b');
  write_file(path, a);
  std::jthread writer([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i) write_file(path, i % 2 ? a : b);
  });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = read_file(path);
    ASSERT_TRUE(seen == a || seen == b) << "a reader saw " << seen.size() << " bytes";
  }
}

TEST(WriteFile, AFullDiskIsAnErrorThatNamesThePath) {
  const std::string message =
      message_of<Error>([] { write_file("/dev/full", std::string(1 << 20, 'x')); });
  EXPECT_THAT(message, AllOf(HasSubstr("/dev/full"), HasSubstr("No space left on device")));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));  // not replaced by a regular file
}

TEST(WriteFile, DevicesAndPipesAreWrittenInPlace) {
  write_file("/dev/null", "x");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));

  const TemporaryFolder folder;
  const fs::path fifo = folder.path / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const int reader = open(fifo.c_str(), O_RDONLY | O_NONBLOCK);
  write_file(fifo, "through the pipe");
  char buffer[64];
  const ssize_t got = read(reader, buffer, sizeof buffer);
  close(reader);
  EXPECT_EQ(std::string(buffer, static_cast<size_t>(std::max<ssize_t>(got, 0))),
            "through the pipe");
  EXPECT_TRUE(fs::is_fifo(fifo));
}

TEST(WriteFile, ATargetThatIsAFolderOrBelowAFileIsAnErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path / "folder");
  EXPECT_THAT(message_of<Error>([&] { write_file(folder.path / "folder", "x"); }),
              HasSubstr((folder.path / "folder").string()));
  write_file(folder.path / "file", "x");
  EXPECT_THAT(message_of<Error>([&] { write_file(folder.path / "file" / "below", "x"); }),
              HasSubstr("cannot create directory"));
  EXPECT_EQ(folder.entries(), 2);
}

TEST(ReadFile, AMissingFileAndAFolderAreDataErrorsThatNameThePath) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of<DataError>([&] { read_file(folder.path / "none"); }),
              AllOf(HasSubstr((folder.path / "none").string()), HasSubstr("no such file")));
  EXPECT_THAT(message_of<DataError>([&] { read_file(folder.path); }),
              HasSubstr("not a regular file"));
}

TEST(ForEachLine, SkipsEmptyLinesKeepsNumbersAndAcceptsCarriageReturns) {
  const TemporaryFolder folder;
  write_file(folder.path / "lines", "one\r\n\nthree\n\r\nlast");
  std::vector<std::pair<int64_t, std::string>> lines;
  for_each_line(folder.path / "lines",
                [&](const std::string& text, int64_t number) { lines.emplace_back(number, text); });
  EXPECT_THAT(lines, ElementsAre(Pair(1, "one"), Pair(3, "three"), Pair(5, "last")));
}

// FIPS 180-2's example messages.
TEST(Sha256, MatchesThePublishedExamples) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  for (int i = 0; i < 1000; ++i) pieces.update(std::string(1000, 'a'));
  EXPECT_EQ(pieces.hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace mose
