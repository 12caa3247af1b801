// Files that are truncated, mutated or hostile: always a DataError that names the file, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <cstring>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/io/safetensors.h"

namespace mose::io {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class DamagedSafetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("mose_io_damage_" + std::to_string(::getpid()) + "_" +
                                        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(dir_);
    file_ = dir_ / "model.safetensors";
    save_safetensors(file_, {{"a", torch::randn({3, 5})}, {"b", torch::ones({7}, torch::kInt16)},
                             {"c", torch::ones({4}, torch::kBool)}, {"e", torch::empty({0, 2})}},
                     {{"format", "pt"}});
    good_ = read_file(file_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Not write_file: these tests write thousands of files, and flushing each to disk would take minutes.
  void put(const std::string& bytes) const {
    std::FILE* f = std::fopen(file_.c_str(), "wb");
    ASSERT_NE(f, nullptr);
    ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), f), bytes.size());
    std::fclose(f);
  }
  void put_header(const std::string& json, size_t data_bytes) const {
    const uint64_t length = json.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    put(bytes + json + std::string(data_bytes, '\0'));
  }
  std::string refusal() const {
    try {
      StateDict::open(file_);
    } catch (const DataError& e) {
      EXPECT_THAT(e.what(), HasSubstr(file_.string()));
      return e.what();
    }
    return "accepted";
  }

  fs::path dir_, file_;
  std::string good_;
};

TEST_F(DamagedSafetensors, EveryTruncationIsRefused) {
  for (size_t length = 0; length < good_.size(); ++length) {
    put(good_.substr(0, length));
    ASSERT_NE(refusal(), "accepted") << length << " of " << good_.size() << " bytes";
  }
  put(good_ + "x");
  EXPECT_NE(refusal(), "accepted");
}

TEST_F(DamagedSafetensors, EachFaultIsNamed) {
  struct Case {
    const char* header;
    size_t data_bytes;
    const char* message;
  };
  const Case cases[] = {
      {R"([])", 0, "no JSON object"},
      {R"({"a":1})", 0, "expected an object"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4, "unknown type \"F33\""},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "at least 0"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "expected an integer"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "expected 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "expected 4 bytes"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "expected [begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,0]}})", 0, "too large"},
      {R"({"a":{"dtype":"F32","shape":[0,9223372036854775807,2],"data_offsets":[0,0]}})", 0, "too large"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4, "too large"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[18446744073709551614,18446744073709551616]}})", 2, "expected an integer"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[18446744073709551613,18446744073709551615]}})", 2, "starts at byte"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})", 4, "truncated"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6, "starts at byte 2"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})", 10, "starts at byte 6"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 6, "6 bytes of data"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4, "\"a\" twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"extra":1}})", 4, "unknown key \"extra\""},
      {R"({"__metadata__":{"a":1}})", 0, "expected text"},
      {R"({"__metadata__":[]})", 0, "expected an object"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.header);
    put_header(c.header, c.data_bytes);
    EXPECT_THAT(refusal(), HasSubstr(c.message));
  }
  put_header(std::string(200000, '['), 0);
  EXPECT_THAT(refusal(), HasSubstr("not JSON"));
}

TEST_F(DamagedSafetensors, BooleansOtherThanZeroAndOneAreRefused) {
  std::string bytes = good_;
  bytes.back() = 2;  // one-byte types come last
  put(bytes);
  EXPECT_THAT(refusal(), HasSubstr("\"c\": element 3 is no BOOL but 2"));
}

TEST_F(DamagedSafetensors, AnIndexReachesNoOtherDirectory) {
  save_safetensors(dir_.parent_path() / "outside.safetensors", {{"a", torch::ones({1})}});
  fs::remove(file_);
  const fs::path index = dir_ / "model.safetensors.index.json";
  const std::string outside = (dir_.parent_path() / "outside.safetensors").string();
  for (const std::string& shard : {std::string("../outside.safetensors"), outside, std::string(".."), std::string(""),
                                   std::string("sub/x.safetensors"), std::string("a\0b", 3)}) {
    save_json(index, {{"weight_map", {{"a", shard}}}});
    try {
      StateDict::open(dir_);
      ADD_FAILURE() << "accepted " << shard;
    } catch (const DataError& e) {
      EXPECT_THAT(e.what(), HasSubstr("plain name"));
    }
  }
  fs::remove(outside);
}

TEST_F(DamagedSafetensors, AnIndexMustBeKept) {
  fs::rename(file_, dir_ / "model-00001-of-00001.safetensors");
  const fs::path index = dir_ / "model.safetensors.index.json";
  auto message = [&](const Json& json) -> std::string {
    save_json(index, json);
    try {
      StateDict::open(dir_);
    } catch (const DataError& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message({{"weight_map", {{"a", "model-00001-of-00001.safetensors"}}}}), HasSubstr("accepted"));
  EXPECT_THAT(message({{"weight_map", {{"z", "model-00001-of-00001.safetensors"}}}}), HasSubstr("lacks the tensor \"z\""));
  EXPECT_THAT(message({{"weight_map", {{"a", "model-00002-of-00002.safetensors"}}}}), HasSubstr("no such file"));
  EXPECT_THAT(message({{"weight_map", {{"a", 3}}}}), HasSubstr("expected a file name"));
  EXPECT_THAT(message({{"other", 1}}), HasSubstr("weight_map"));
}

TEST_F(DamagedSafetensors, MissingFilesAndOddPathsAreNamed) {
  EXPECT_THROW(StateDict::open(dir_ / "none"), DataError);
  EXPECT_THROW(StateDict::open("/dev/null"), DataError);
  fs::remove(file_);
  EXPECT_THROW(StateDict::open(dir_), DataError);
}

}  // namespace
}  // namespace mose::io
