#include "vision/jpeg.h"

#include <csetjmp>
#include <cstdio>
#include <vector>
// after <cstdio>, which they do not include
#include <jerror.h>
#include <jpeglib.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::vision {
namespace {

// libjpeg's callbacks may not return from an error: they jump back into read_pixels.
struct Decoder {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void fail(j_common_ptr info) {
  auto* decoder = static_cast<Decoder*>(info->client_data);
  info->err->format_message(info, decoder->message);
  std::longjmp(decoder->back, 1);
}

// Below 0: a warning. Of these, bytes between segments and odd version numbers harm nothing.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION: fail(info);
    default: return;
  }
}

uint8_t product_255(int a, int b) {
  const int product = a * b + 128;
  return static_cast<uint8_t>(((product >> 8) + product) >> 8);
}

// Stored are 255 - C, M, Y, K.
void cmyk_to_bgr(const uint8_t* in, int64_t width, uint8_t* out) {
  for (int64_t x = 0; x < width; ++x, in += 4, out += 3) {
    for (int c = 0; c < 3; ++c) out[2 - c] = static_cast<uint8_t>(in[3] - product_255(255 - in[c], in[3]));
  }
}

// False with decoder.message where libjpeg gave up. Nothing here has a destructor that the jump would pass over.
bool read_pixels(std::string_view bytes, Decoder& decoder, cv::Mat& image, std::vector<uint8_t>& row) {
  jpeg_decompress_struct& info = decoder.info;
  if (setjmp(decoder.back) != 0) return false;
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&info, TRUE);
  const bool cmyk = info.num_components == 4;
  info.out_color_space = cmyk ? JCS_CMYK : JCS_EXT_BGR;
  jpeg_start_decompress(&info);
  if (static_cast<int>(info.output_width) != image.cols || static_cast<int>(info.output_height) != image.rows) {
    ERREXIT(&info, JERR_IMAGE_TOO_BIG);  // never: the caller has read the same header
  }
  while (info.output_scanline < info.output_height) {
    uint8_t* out = image.ptr<uint8_t>(static_cast<int>(info.output_scanline));
    JSAMPROW to = cmyk ? row.data() : out;
    jpeg_read_scanlines(&info, &to, 1);
    if (cmyk) cmyk_to_bgr(row.data(), image.cols, out);
  }
  jpeg_finish_decompress(&info);
  return true;
}

}  // namespace

cv::Mat decode_jpeg(std::string_view bytes, const std::string& name, const ImageHeader& header) {
  cv::Mat image(static_cast<int>(header.height), static_cast<int>(header.width), CV_8UC3);
  std::vector<uint8_t> row(static_cast<size_t>(header.width * 4));
  Decoder decoder;
  decoder.info.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = fail;
  decoder.errors.emit_message = on_message;
  decoder.info.client_data = &decoder;
  jpeg_create_decompress(&decoder.info);
  const bool done = read_pixels(bytes, decoder, image, row);
  jpeg_destroy_decompress(&decoder.info);
  if (!done) throw DataError(str("image ", name, ": cannot be decoded: ", decoder.message));
  return image;
}

}  // namespace mose::vision
