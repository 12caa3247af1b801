#include "vision/image_header.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::vision {
namespace {

// A view with checked reads: every access past the end is the same error.
struct Reader {
  std::string_view bytes;
  const std::string& name;

  [[noreturn]] void truncated(uint64_t at) const {
    throw DataError(str("image ", name, ": truncated: the file ends at byte ", bytes.size(),
                        ", more is expected from byte ", at));
  }
  uint64_t u8(uint64_t at) const {
    if (at >= bytes.size()) truncated(at);
    return static_cast<unsigned char>(bytes[at]);
  }
  uint64_t number(uint64_t at, int size, bool big) const {
    uint64_t value = 0;
    for (int i = 0; i < size; ++i) {
      value |= u8(at + static_cast<uint64_t>(i)) << (8 * (big ? size - 1 - i : i));
    }
    return value;
  }
  uint64_t big(uint64_t at, int size) const { return number(at, size, true); }
  uint64_t little(uint64_t at, int size) const { return number(at, size, false); }
  std::string_view text(uint64_t at, uint64_t size) const {
    if (at > bytes.size() || size > bytes.size() - at) truncated(at);
    return bytes.substr(at, size);
  }
  [[noreturn]] void malformed(const std::string& what) const {
    throw DataError(str("image ", name, ": malformed: ", what));
  }
};

// Tag 0x0112 of a TIFF block; 1 where the block is absent or odd, as viewers do.
int exif_orientation(std::string_view tiff) {
  static const std::string kNone;
  const Reader reader{tiff, kNone};
  if (tiff.size() < 8 || (tiff.substr(0, 2) != "II" && tiff.substr(0, 2) != "MM")) return 1;
  const bool big = tiff[0] == 'M';
  const uint64_t directory = reader.number(4, 4, big);
  if (directory + 2 > tiff.size()) return 1;
  const uint64_t count = reader.number(directory, 2, big);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return 1;
    if (reader.number(entry, 2, big) != 0x0112) continue;
    const uint64_t value = reader.number(entry + 8, 2, big);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

ImageHeader read_jpeg(const Reader& reader) {
  ImageHeader header;
  const std::string_view bytes = reader.bytes;
  constexpr int kMaxScans = 500;  // each goes over the whole image again
  int scans = 0;
  uint64_t at = 2;
  for (;;) {
    if (reader.u8(at) != 0xFF) reader.malformed(str("no JPEG marker at byte ", at));
    while (reader.u8(at) == 0xFF) ++at;
    const uint64_t marker = reader.u8(at++);
    if (marker == 0xD9) break;                                            // end of image
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;   // no length
    const uint64_t length = reader.big(at, 2);
    if (length < 2) reader.malformed(str("JPEG segment of length ", length, " at byte ", at));
    const std::string_view body = reader.text(at + 2, length - 2);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 &&
                       marker != 0xCC;
    if (frame) {
      if (header.width != 0) reader.malformed("a JPEG of two frames");
      header.height = static_cast<int64_t>(reader.big(at + 3, 2));
      header.width = static_cast<int64_t>(reader.big(at + 5, 2));
    } else if (marker == 0xE1 && body.substr(0, 6) == std::string_view("Exif\0\0", 6)) {
      header.orientation = exif_orientation(body.substr(6));
    }
    at += length;
    if (marker != 0xDA) continue;
    if (++scans > kMaxScans) reader.malformed(str("a JPEG of more than ", kMaxScans, " scans"));
    // Coded data: FF is followed by 00 or a restart marker until the next segment.
    for (;;) {
      at = bytes.find('\xFF', at);
      if (at == std::string_view::npos) reader.truncated(bytes.size());
      const uint64_t next = reader.u8(at + 1);
      if (next == 0xFF) {
        ++at;
      } else if (next == 0x00 || (next >= 0xD0 && next <= 0xD7)) {
        at += 2;
      } else {
        break;
      }
    }
  }
  return header;
}

ImageHeader read_png(const Reader& reader) {
  ImageHeader header;
  for (uint64_t at = 8;;) {
    const uint64_t length = reader.big(at, 4);
    const std::string_view type = reader.text(at + 4, 4);
    const std::string_view body = reader.text(at + 8, length);
    reader.text(at + 8 + length, 4);  // the checksum
    if (at == 8) {
      if (type != "IHDR" || length < 13) reader.malformed("a PNG that does not begin with IHDR");
      header.width = static_cast<int64_t>(reader.big(at + 8, 4));
      header.height = static_cast<int64_t>(reader.big(at + 12, 4));
    } else if (type == "eXIf") {
      header.orientation = exif_orientation(body);
    } else if (type == "IEND") {
      return header;
    }
    at += 12 + length;
  }
}

ImageHeader read_webp(const Reader& reader) {
  ImageHeader header;
  const uint64_t end = 8 + reader.little(4, 4);
  if (end > reader.bytes.size()) reader.truncated(reader.bytes.size());
  for (uint64_t at = 12; at + 8 <= end;) {
    const std::string_view type = reader.text(at, 4);
    const uint64_t length = reader.little(at + 4, 4), data = at + 8;
    const std::string_view body = reader.text(data, length);
    if (type == "VP8X" && at == 12) {
      header.width = static_cast<int64_t>(reader.little(data + 4, 3)) + 1;
      header.height = static_cast<int64_t>(reader.little(data + 7, 3)) + 1;
    } else if (type == "VP8 " && header.width == 0) {
      header.width = static_cast<int64_t>(reader.little(data + 6, 2) & 0x3FFF);
      header.height = static_cast<int64_t>(reader.little(data + 8, 2) & 0x3FFF);
    } else if (type == "VP8L" && header.width == 0) {
      const uint64_t bits = reader.little(data + 1, 4);
      header.width = static_cast<int64_t>(bits & 0x3FFF) + 1;
      header.height = static_cast<int64_t>((bits >> 14) & 0x3FFF) + 1;
    } else if (type == "EXIF") {
      header.orientation = exif_orientation(
          body.substr(0, 6) == std::string_view("Exif\0\0", 6) ? body.substr(6) : body);
    }
    at = data + length + (length & 1);
  }
  return header;
}

ImageHeader read_bmp(const Reader& reader) {
  ImageHeader header;
  const auto width = static_cast<int32_t>(reader.little(18, 4));
  const auto height = static_cast<int32_t>(reader.little(22, 4));
  if (reader.little(14, 4) < 40) reader.malformed("a BMP with an OS/2 header, which is not supported");
  header.width = width;
  header.height = height < 0 ? -static_cast<int64_t>(height) : height;  // negative: top row first
  if (width > 0 && reader.little(30, 4) == 0) {
    const uint64_t row = (static_cast<uint64_t>(width) * reader.little(28, 2) + 31) / 32 * 4;
    const uint64_t end = reader.little(10, 4) + row * static_cast<uint64_t>(header.height);
    if (end > reader.bytes.size()) reader.truncated(reader.bytes.size());
  }
  return header;
}

}  // namespace

ImageHeader read_image_header(std::string_view bytes, const std::string& name) {
  const Reader reader{bytes, name};
  ImageHeader header;
  if (bytes.empty()) throw DataError(str("image ", name, ": the file is empty"));
  if (bytes.substr(0, 3) == "\xFF\xD8\xFF") {
    header = read_jpeg(reader);
  } else if (bytes.substr(0, 8) == "\x89PNG\r\n\x1A\n") {
    header = read_png(reader);
  } else if (bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") {
    header = read_webp(reader);
  } else if (bytes.substr(0, 2) == "BM") {
    header = read_bmp(reader);
  } else {
    throw DataError(str("image ", name, ": not a JPEG, PNG, BMP or WebP file"));
  }
  if (header.width < 1 || header.height < 1) {
    reader.malformed(str("a size of ", header.width, " x ", header.height, " pixels"));
  }
  return header;
}

}  // namespace mose::vision
