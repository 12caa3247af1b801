// Files: whole reads, atomic writes, hashes.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace mose {

// The whole file; DataError naming the path when it is missing or unreadable.
std::string read_file(const std::filesystem::path& path);

// Calls `line(text, number)` for each non-empty line (numbers from 1).
void for_each_line(const std::filesystem::path& path,
                   const std::function<void(const std::string&, int64_t)>& line);

// Writes `content` beside the target, flushes it to disk, and renames. Throws mose::Error (for
// example when the disk is full) and leaves the target as it was.
void write_file(const std::filesystem::path& path, std::string_view content);

// The same for content that is produced piece by piece. Nothing appears at `path` until commit().
// A device or pipe (/dev/null, /dev/stdout) is written in place.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();  // removes the temporary file when commit() was not called
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

void make_directories(const std::filesystem::path& path);

// Makes the folder anew and calls `fill`; when that throws, the folder is removed with what it holds.
void write_folder(const std::filesystem::path& dir, const std::function<void()>& fill);

// Absolute, and without a slash at its end.
std::filesystem::path folder_path(const std::filesystem::path& dir);

// `fill` writes a folder beside `dir`, a folder_path, which then takes its place; an earlier one stays until then.
void replace_folder(const std::filesystem::path& dir, const std::function<void(const std::filesystem::path& beside)>& fill);

// SHA-256 in lower-case hexadecimal.
std::string sha256(std::string_view bytes);

// SHA-256 over several pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(const void* data, size_t size);
  void update(std::string_view text) { update(text.data(), text.size()); }
  std::string hex();  // ends the hash

 private:
  void* context_;
};

}  // namespace mose
