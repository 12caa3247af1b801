#include "mose/train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::train {
namespace {

static_assert(std::endian::native == std::endian::little, "event files are little-endian");

template <class T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Wire types of protobuf: 0 varint, 1 eight bytes, 2 bytes with their length, 5 four bytes.
void append_key(std::string& out, uint64_t field, uint64_t wire) {
  append_varint(out, field << 3 | wire);
}

void append_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  append_key(out, field, 2);
  append_varint(out, bytes.size());
  out += bytes;
}

// tensorflow.Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
std::string event(int64_t step, uint64_t what_field, std::string_view what) {
  std::string out;
  append_key(out, 1, 1);
  append_raw(out, std::chrono::duration<double>(
                      std::chrono::system_clock::now().time_since_epoch()).count());
  if (step != 0) {
    append_key(out, 2, 0);
    append_varint(out, static_cast<uint64_t>(step));
  }
  append_bytes(out, what_field, what);
  return out;
}

std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}

// TFRecord stores the CRC rotated and offset, since data that holds its own CRC is a weak check.
uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = make_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& dir) {
  static std::atomic<int> made{0};  // two writers in one second need two names
  make_directories(dir);
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch()).count();
  file_ = dir / str("events.out.tfevents.", now, ".", host, ".", getpid(), ".", made++);
  stream_.reset(std::fopen(file_.c_str(), "wb"));
  if (!stream_) throw Error(str("cannot write ", file_.string(), ": ", std::strerror(errno)));
  write_record(event(0, 3, "brain.Event:2"));
  flush();
}

void TensorBoardWriter::write_record(std::string_view record) {
  std::string out;
  append_raw(out, static_cast<uint64_t>(record.size()));
  append_raw(out, masked_crc(out));
  out += record;
  append_raw(out, masked_crc(record));
  if (std::fwrite(out.data(), 1, out.size(), stream_.get()) != out.size()) {
    throw Error(str("cannot write ", file_.string(), ": ", std::strerror(errno)));
  }
}

void TensorBoardWriter::scalar(const std::string& tag, double value, int64_t step) {
  // Summary { repeated Value value = 1; }  Value { string tag = 1; float simple_value = 2; }
  std::string entry, summary;
  append_bytes(entry, 1, tag);
  append_key(entry, 2, 5);
  append_raw(entry, static_cast<float>(value));
  append_bytes(summary, 1, entry);
  write_record(event(step, 5, summary));
}

void TensorBoardWriter::flush() {
  if (std::fflush(stream_.get()) != 0) {
    throw Error(str("cannot write ", file_.string(), ": ", std::strerror(errno)));
  }
}

}  // namespace mose::train
