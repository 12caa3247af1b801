#include "mose/coda/image_size.h"

#include <cstring>
#include <fstream>
#include <string>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::coda {

namespace {

// Big-endian reads that fail loudly at the end of the file.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& file) : file_(file), in_(file, std::ios::binary) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(file, code) || !in_) {
      throw DataError(str(file.string(), ": image: no such file"));
    }
  }
  int byte() {
    const int value = in_.get();
    if (value < 0) fail("the file ends before its size is known");
    return value;
  }
  int64_t u16() {
    const int64_t high = byte();
    return high << 8 | byte();
  }
  int64_t u32() {
    const int64_t high = u16();
    return high << 16 | u16();
  }
  void skip(int64_t count) { in_.seekg(count, std::ios::cur); }
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(str(file_.string(), ": image: ", what));
  }

 private:
  std::filesystem::path file_;
  std::ifstream in_;
};

ImageSize jpeg_size(Reader& in) {
  while (true) {
    if (in.byte() != 0xFF) in.fail("not a valid JPEG: expected a marker");
    int marker = in.byte();
    while (marker == 0xFF) marker = in.byte();  // fill bytes
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // markers without a length
    if (marker == 0xD9 || marker == 0xDA) in.fail("not a valid JPEG: no frame header before the data");
    const int64_t length = in.u16();
    if (length < 2) in.fail(str("not a valid JPEG: segment of ", length, " bytes"));
    // SOF0 to SOF15, of which C4, C8 and CC mean other things.
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 &&
                       marker != 0xCC;
    if (frame) {
      in.byte();  // bits a sample
      const int64_t height = in.u16();
      return {in.u16(), height};
    }
    in.skip(length - 2);
  }
}

ImageSize png_size(Reader& in) {
  for (int i = 0; i < 6; ++i) in.byte();  // the rest of the signature
  in.u32();                               // length of the first chunk
  if (in.u32() != 0x49484452) in.fail("not a valid PNG: the first chunk is not IHDR");
  const int64_t width = in.u32();
  return {width, in.u32()};
}

}  // namespace

ImageSize image_size(const std::filesystem::path& file) {
  Reader in(file);
  const int64_t magic = in.u16();
  ImageSize size;
  if (magic == 0xFFD8) {
    size = jpeg_size(in);
  } else if (magic == 0x8950) {
    size = png_size(in);
  } else {
    in.fail("neither a JPEG nor a PNG file");
  }
  if (size.width <= 0 || size.height <= 0) {
    in.fail(str("has no area: ", size.width, " x ", size.height));
  }
  return size;
}

}  // namespace mose::coda
