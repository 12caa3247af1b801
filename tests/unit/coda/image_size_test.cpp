#include "mose/coda/image_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::coda {
namespace {

using ::testing::HasSubstr;

ImageSize size_of(const std::string& bytes) {
  TemporaryFolder dir;
  write_file(dir.path / "x.jpg", bytes);
  return image_size(dir.path / "x.jpg");
}

std::string error_of(const std::string& bytes) {
  return message_of<DataError>([&] { size_of(bytes); });
}

TEST(ImageSize, ReadsJpegPastOtherSegments) {
  const ImageSize size = size_of(test::jpeg_header(1280, 720));
  EXPECT_EQ(size.width, 1280);
  EXPECT_EQ(size.height, 720);
}

TEST(ImageSize, ReadsPng) {
  const ImageSize size = size_of(std::string("\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\x02\x80\0\0\x01\x68", 24));
  EXPECT_EQ(size.width, 640);
  EXPECT_EQ(size.height, 360);
}

TEST(ImageSize, RefusesWhatItCannotRead) {
  EXPECT_THAT(error_of("GIF89a.."), HasSubstr("neither a JPEG nor a PNG"));
  EXPECT_THAT(error_of(test::jpeg_header(640, 360).substr(0, 12)), HasSubstr("ends before"));
  EXPECT_THAT(error_of(""), HasSubstr("ends before"));
  EXPECT_THAT(error_of(std::string("\xFF\xD8\xFF\xD9", 4)), HasSubstr("no frame header"));
  EXPECT_THAT(error_of(test::jpeg_header(0, 360)), HasSubstr("no area"));
  EXPECT_THROW(image_size("/nonexistent.jpg"), DataError);
}

}  // namespace
}  // namespace mose::coda
