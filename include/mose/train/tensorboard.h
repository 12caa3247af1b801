// Scalars in TensorBoard's event files, without TensorFlow.
//
// An event file is a sequence of records (TFRecord framing: length, masked CRC-32C of the length,
// bytes, masked CRC-32C of the bytes); each record is a tensorflow.Event in protobuf's wire form.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace mose::train {

class TensorBoardWriter {
 public:
  // Makes DIR/events.out.tfevents.<time>.<host>.<process>; a resumed run adds another file, which
  // TensorBoard reads after the first. mose::Error when it cannot be written.
  explicit TensorBoardWriter(const std::filesystem::path& dir);

  void scalar(const std::string& tag, double value, int64_t step);
  void flush();

  const std::filesystem::path& file() const { return file_; }

 private:
  void write_record(std::string_view record);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path file_;
  std::unique_ptr<std::FILE, Close> stream_;
};

// CRC-32C (Castagnoli), as RFC 3720 defines it.
uint32_t crc32c(std::string_view bytes);

}  // namespace mose::train
