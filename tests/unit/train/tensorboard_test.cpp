#include "mose/train/tensorboard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <set>
#include <vector>

#include "mose/core/error.h"
#include "mose/core/files.h"

namespace mose::train {
namespace {

namespace fs = std::filesystem;

struct Scratch {
  fs::path dir = fs::temp_directory_path() / ("mose_tensorboard_" + std::to_string(getpid()));
  ~Scratch() { fs::remove_all(dir); }
};

template <class T>
T read_raw(const std::string& bytes, size_t& at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  at += sizeof value;
  return value;
}

// The inverse of TFRecord's mask.
uint32_t unmask(uint32_t masked) { return std::rotl(masked - 0xA282EAD8u, 15); }

std::vector<std::string> records_of(const fs::path& file) {
  const std::string bytes = read_file(file);
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    const std::string length_bytes = bytes.substr(at, 8);
    const auto length = read_raw<uint64_t>(bytes, at);
    EXPECT_EQ(unmask(read_raw<uint32_t>(bytes, at)), crc32c(length_bytes));
    records.push_back(bytes.substr(at, length));
    at += length;
    EXPECT_EQ(unmask(read_raw<uint32_t>(bytes, at)), crc32c(records.back()));
  }
  return records;
}

struct Field {
  uint64_t number = 0, varint = 0;
  std::string bytes;  // of wire types 1, 2 and 5
};

uint64_t read_varint(const std::string& bytes, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(at++));
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

std::vector<Field> fields_of(const std::string& message) {
  std::vector<Field> fields;
  for (size_t at = 0; at < message.size();) {
    const uint64_t key = read_varint(message, at);
    Field field{key >> 3, 0, ""};
    size_t size = 0;
    switch (key & 7) {
      case 0: field.varint = read_varint(message, at); break;
      case 1: size = 8; break;
      case 2: size = read_varint(message, at); break;
      case 5: size = 4; break;
      default: ADD_FAILURE() << "wire type " << (key & 7); return fields;
    }
    field.bytes = message.substr(at, size);
    at += size;
    fields.push_back(field);
  }
  return fields;
}

TEST(Crc32c, KnownVectors) {
  // RFC 3720, appendix B.4, and the check value of the CRC catalogue.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(TensorBoardWriter, RecordsAreEventsWithTagStepAndValue) {
  const Scratch scratch;
  TensorBoardWriter writer(scratch.dir);
  writer.scalar("loss/lm", 1.5, 0);
  writer.scalar("learning_rate", 3e-4, 70000);
  writer.flush();
  const auto records = records_of(writer.file());
  ASSERT_EQ(records.size(), 3u);
  const auto head = fields_of(records[0]);
  EXPECT_EQ(head.back().number, 3u);
  EXPECT_EQ(head.back().bytes, "brain.Event:2");
  const auto event = fields_of(records[2]);
  ASSERT_EQ(event.size(), 3u);
  EXPECT_EQ(event[0].number, 1u);
  double wall_time = 0;
  std::memcpy(&wall_time, event[0].bytes.data(), 8);
  EXPECT_NEAR(wall_time, static_cast<double>(::time(nullptr)), 60);
  EXPECT_EQ(event[1].number, 2u);
  EXPECT_EQ(event[1].varint, 70000u);
  EXPECT_EQ(event[2].number, 5u);
  const auto value = fields_of(fields_of(event[2].bytes).at(0).bytes);
  ASSERT_EQ(value.size(), 2u);
  EXPECT_EQ(value[0].bytes, "learning_rate");
  float number = 0;
  std::memcpy(&number, value[1].bytes.data(), 4);
  EXPECT_FLOAT_EQ(number, 3e-4f);
}

TEST(TensorBoardWriter, EachWriterHasItsOwnFile) {
  const Scratch scratch;
  const TensorBoardWriter a(scratch.dir), b(scratch.dir);
  EXPECT_NE(a.file(), b.file());
  EXPECT_EQ(a.file().filename().string().find("events.out.tfevents."), 0u);
}

TEST(TensorBoardWriter, UnwritableFolderIsAnErrorThatNamesIt) {
  const Scratch scratch;
  fs::create_directories(scratch.dir);
  write_file(scratch.dir / "file", "x");
  EXPECT_THROW(TensorBoardWriter(scratch.dir / "file"), Error);
}

}  // namespace
}  // namespace mose::train
