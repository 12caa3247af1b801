#include "io/zip.h"

#include "io/printable.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::io {
namespace {

constexpr uint64_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr uint64_t kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kEnd64LocatorSize = 20;
constexpr size_t kLongestComment = 0xffff;
constexpr uint64_t kIn64 = 0xffffffff;  // the number is in the zip64 field instead

class Archive {
 public:
  Archive(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::map<std::string_view, std::string_view> entries() {
    find_directory();
    std::map<std::string_view, std::string_view> out;
    uint64_t at = directory_;
    for (uint64_t i = 0; i < count_; ++i) {
      if (number(at, 4) != kCentral) fail("entry ", i, " of the directory is damaged");
      const uint64_t name_size = number(at + 28, 2), extra_size = number(at + 30, 2), comment_size = number(at + 32, 2);
      const std::string_view name = slice(at + kCentralSize, name_size);
      if (!out.emplace(name, data(at, name, slice(at + kCentralSize + name_size, extra_size))).second) {
        fail("the entry \"", printable(name), "\" comes twice");
      }
      at += kCentralSize + name_size + extra_size + comment_size;
    }
    return out;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw DataError(mose::str(where_, ": zip archive: ", parts...));
  }

  std::string_view slice(uint64_t at, uint64_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) fail("byte ", at, " is beyond the end: the file is cut off or damaged");
    return bytes_.substr(at, size);
  }

  uint64_t number(uint64_t at, size_t size) const {
    const std::string_view text = slice(at, size);
    uint64_t out = 0;
    for (size_t i = size; i-- > 0;) out = out << 8 | static_cast<unsigned char>(text[i]);
    return out;
  }

  // The directory is found from the file's end, where a comment may follow its record.
  void find_directory() {
    uint64_t end = bytes_.size() < kEndSize ? 0 : bytes_.size() - kEndSize;
    const uint64_t first = end < kLongestComment ? 0 : end - kLongestComment;
    while (end > first && !(number(end, 4) == kEnd && end + kEndSize + number(end + 20, 2) == bytes_.size())) --end;
    if (number(end, 4) != kEnd) fail("it has no directory: the file is cut off");
    count_ = number(end + 10, 2);
    directory_ = number(end + 16, 4);
    if (end < kEnd64LocatorSize || number(end - kEnd64LocatorSize, 4) != kEnd64Locator) return;
    const uint64_t end64 = number(end - kEnd64LocatorSize + 8, 8);
    slice(end64, kEnd64Size);
    if (number(end64, 4) != kEnd64) fail("its zip64 directory is damaged");
    count_ = number(end64 + 32, 8);
    directory_ = number(end64 + 48, 8);
  }

  // The bytes of the entry whose directory record is at `record`.
  std::string_view data(uint64_t record, std::string_view name, std::string_view extra) const {
    if (number(record + 8, 2) & 1) fail("the entry \"", printable(name), "\" is encrypted");
    if (const uint64_t method = number(record + 10, 2); method != 0) {
      fail("the entry \"", printable(name), "\" is compressed (method ", method, "), so it cannot be mapped; torch.save stores entries as they are");
    }
    uint64_t stored = number(record + 20, 4), size = number(record + 24, 4), local = number(record + 42, 4);
    // The zip64 field (id 1) holds, in this order, the numbers that do not fit above.
    while (extra.size() >= 4) {
      const auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<unsigned char>(extra[i])); };
      const uint64_t id = byte(0) | byte(1) << 8, length = byte(2) | byte(3) << 8;
      if (length > extra.size() - 4) fail("the entry \"", printable(name), "\" has a damaged extra field");
      size_t at = 4;
      for (uint64_t* wide : {&size, &stored, &local}) {
        if (id != 1 || *wide != kIn64) continue;
        if (at + 8 > 4 + length) fail("the entry \"", printable(name), "\" has a damaged zip64 field");
        *wide = 0;
        for (size_t i = 8; i-- > 0;) *wide = *wide << 8 | byte(at + i);
        at += 8;
      }
      extra.remove_prefix(4 + length);
    }
    if (stored != size) fail("the entry \"", printable(name), "\" is stored in ", stored, " bytes, but has ", size);
    if (number(local, 4) != kLocal) fail("the entry \"", printable(name), "\" has no header at byte ", local);
    return slice(local + kLocalSize + number(local + 26, 2) + number(local + 28, 2), size);
  }

  std::string_view bytes_;
  const std::string& where_;
  uint64_t directory_ = 0, count_ = 0;  // of the directory: its first byte, its entries
};

}  // namespace

std::map<std::string_view, std::string_view> zip_entries(std::string_view archive, const std::string& where) {
  return Archive(archive, where).entries();
}

}  // namespace mose::io
