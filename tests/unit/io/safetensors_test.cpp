#include "mose/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <csignal>
#include <cstring>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"

namespace mose::io {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("mose_io_" + std::to_string(::getpid()) + "_" +
                                        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(dir_)) out.push_back(entry.path().filename().string());
    std::sort(out.begin(), out.end());
    return out;
  }
  fs::path dir_;
};

// Equal in type, shape and every bit (NaN included).
void expect_same(const torch::Tensor& a, const torch::Tensor& b) {
  ASSERT_EQ(a.scalar_type(), b.scalar_type());
  ASSERT_EQ(a.sizes(), b.sizes());
  const torch::Tensor x = a.contiguous(), y = b.contiguous();
  if (x.nbytes() > 0) { EXPECT_EQ(std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()), 0); }
}

TensorMap tensors_of_all_types() {
  TensorMap tensors;
  const torch::Tensor bytes = torch::randint(0, 255, {2, 3, 8}, torch::kByte);
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
                          torch::kInt32, torch::kInt16, torch::kInt8, at::kUInt64, at::kUInt32, at::kUInt16,
                          torch::kByte, at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kFloat8_e8m0fnu}) {
    tensors[c10::toString(type)] = bytes.view(type);
  }
  tensors["bool"] = bytes > 100;
  tensors["scalar"] = torch::tensor(3.5);
  tensors["empty"] = torch::empty({0, 4}, torch::kFloat16);
  tensors["ümlaut \"quoted\""] = torch::ones({1});
  return tensors;
}

TEST_F(Safetensors, EveryTypeComesBackBitForBit) {
  const TensorMap tensors = tensors_of_all_types();
  save_safetensors(dir_ / "a.safetensors", tensors, {{"format", "pt"}, {"note", "zwölf"}});
  const StateDict read = StateDict::open(dir_ / "a.safetensors");
  ASSERT_EQ(read.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    expect_same(read.get(name), tensor);
  }
  EXPECT_EQ(read.metadata().at("note"), "zwölf");
  EXPECT_THAT(files(), ElementsAre("a.safetensors"));
}

TEST_F(Safetensors, StridedAndConjugatedTensorsAreWrittenAsTheirValues) {
  const torch::Tensor a = torch::randn({4, 6});
  save_safetensors(dir_ / "a.safetensors", {{"t", a.t()}, {"slice", a.narrow(1, 1, 3)}, {"wide", a[0][0].expand({5})}});
  const StateDict read = StateDict::open(dir_ / "a.safetensors");
  expect_same(read.get("t"), a.t());
  expect_same(read.get("slice"), a.narrow(1, 1, 3));
  expect_same(read.get("wide"), a[0][0].expand({5}));
}

TEST_F(Safetensors, HeaderIsThatOfTheFormat) {
  save_safetensors(dir_ / "a.safetensors", {{"b", torch::tensor({1, 2}, torch::kInt16)}, {"c", torch::tensor({1.0f})}});
  const std::string bytes = read_file(dir_ / "a.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ((8 + length) % 64, 0u);
  const Json header = Json::parse(bytes.substr(8, length));
  EXPECT_EQ(header["c"], (Json{{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {0, 4}}}));
  EXPECT_EQ(header["b"], (Json{{"dtype", "I16"}, {"shape", {2}}, {"data_offsets", {4, 8}}}));
  EXPECT_EQ(bytes.substr(8 + length), std::string("\x00\x00\x80\x3f\x01\x00\x02\x00", 8));
}

TEST_F(Safetensors, TensorsOutliveTheStateDictAndTheFile) {
  const torch::Tensor a = torch::randn({100});
  save_safetensors(dir_ / "a.safetensors", {{"a", a}});
  torch::Tensor read = StateDict::open(dir_ / "a.safetensors").get("a");
  fs::remove(dir_ / "a.safetensors");
  expect_same(read, a);
}

TEST_F(Safetensors, ChangingATensorInPlaceLeavesTheFile) {
  save_safetensors(dir_ / "a.safetensors", {{"a", torch::ones({4})}});
  const std::string before = read_file(dir_ / "a.safetensors");
  StateDict::open(dir_ / "a.safetensors").get("a").zero_();
  EXPECT_EQ(read_file(dir_ / "a.safetensors"), before);
}

TEST_F(Safetensors, UnalignedDataIsReadRight) {
  // A header whose length puts the data at an odd offset, as other writers may.
  const std::string json = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )";
  std::string bytes(8, '\0');
  const uint64_t length = json.size() + (json.size() % 2 == 0 ? 1 : 0);
  std::memcpy(bytes.data(), &length, 8);
  bytes += json;
  bytes.resize(8 + length, ' ');
  const float values[] = {1.5f, -2.0f};
  bytes.append(reinterpret_cast<const char*>(values), 8);
  write_file(dir_ / "a.safetensors", bytes);
  expect_same(StateDict::open(dir_ / "a.safetensors").get("a"), torch::tensor({1.5f, -2.0f}));
}

TEST_F(Safetensors, UnknownNameNamesTheNearest) {
  save_safetensors(dir_ / "a.safetensors", {{"layers.0.weight", torch::ones({1})}});
  const StateDict read = StateDict::open(dir_ / "a.safetensors");
  EXPECT_TRUE(read.has("layers.0.weight"));
  try {
    read.get("layer.0.weight");
    FAIL();
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), HasSubstr("layers.0.weight"));
  }
}

TEST_F(Safetensors, ShardsHoldWhatOneFileHolds) {
  TensorMap tensors;
  for (int i = 0; i < 7; ++i) tensors["t" + std::to_string(i)] = torch::randn({10 + i});
  save_sharded(dir_, tensors, 100);
  const Json index = load_json(dir_ / "model.safetensors.index.json");
  EXPECT_EQ(index["weight_map"].size(), 7u);
  EXPECT_EQ(index["metadata"]["total_size"], 4 * (7 * 10 + 21));
  EXPECT_EQ(index["weight_map"]["t0"], "model-00001-of-00005.safetensors");
  const StateDict read = StateDict::open(dir_);
  for (const auto& [name, tensor] : tensors) expect_same(read.get(name), tensor);
}

// Larger than the pieces in which strided and converted tensors are written.
TEST_F(Safetensors, LargeTensorsAreConvertedPieceByPiece) {
  const torch::Tensor half = torch::randn({3000, 2001}, torch::kFloat16);
  const TensorMap tensors{{"half", half}, {"turned", half.t()}, {"row", half[0]}, {"one", half[0][0]}, {"long", half.view({1, -1})},
                          {"empty", half.narrow(0, 0, 0)}, {"float", half.to(torch::kFloat32)}};
  save_sharded(dir_, tensors, int64_t{40} << 20, torch::kFloat32);
  const StateDict read = StateDict::open(dir_);
  EXPECT_EQ(files().size(), 5u);  // 24 MB each, so one a shard
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    expect_same(read.get(name), tensor.to(torch::kFloat32));
  }
  save_sharded(dir_, tensors);
  for (const auto& [name, tensor] : tensors) expect_same(StateDict::open(dir_).get(name), tensor);
  TensorMap plain;
  for (const auto& [name, tensor] : tensors) plain[name] = tensor.contiguous();
  EXPECT_EQ(hash_tensors(tensors), hash_tensors(plain));
}

TEST_F(Safetensors, SavingAgainLeavesNoStaleFiles) {
  TensorMap tensors{{"a", torch::randn({10})}, {"b", torch::randn({10})}, {"c", torch::randn({10})}};
  save_sharded(dir_, tensors, 40);
  EXPECT_EQ(files().size(), 4u);
  save_sharded(dir_, tensors, 80);
  EXPECT_THAT(files(), ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                   "model.safetensors.index.json"));
  save_sharded(dir_, tensors);
  EXPECT_THAT(files(), ElementsAre("model.safetensors"));
  save_sharded(dir_, tensors, 40);
  EXPECT_EQ(files().size(), 4u);
  expect_same(StateDict::open(dir_).get("b"), tensors["b"]);
  EXPECT_THROW(save_sharded(dir_, tensors, 0), UsageError);
}

TEST_F(Safetensors, WhatCannotBeWrittenIsRefusedByName) {
  EXPECT_THROW(save_safetensors(dir_ / "a", {{"x", torch::Tensor()}}), Error);
  EXPECT_THROW(save_safetensors(dir_ / "a", {{"__metadata__", torch::ones({1})}}), Error);
  EXPECT_THROW(save_safetensors(dir_ / "a", {{"x", torch::ones({1}, torch::kComplexDouble)}}), Error);
  EXPECT_THROW(save_safetensors(dir_ / "a", {{"x", torch::ones({1}).to_sparse()}}), Error);
  EXPECT_THROW(save_safetensors(dir_ / "a", {{"\xff\xfe", torch::ones({1})}}), Error);
  EXPECT_TRUE(files().empty());
}

// A limit on the size of files stands in for a full disk: both make write() fail part of the way.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(Safetensors, AFailedWriteLeavesThePreviousFilesAndNothingElse) {
  TensorMap small{{"a", torch::ones({4})}}, large{{"a", torch::randn({10}, torch::kFloat32)}, {"b", torch::randn({5000})}};
  save_sharded(dir_, small);
  {
    const FileSizeLimit limit(4096);
    EXPECT_THROW(save_sharded(dir_, large), Error);
    EXPECT_THROW(save_sharded(dir_, large, 100), Error);  // the second shard fails, the first was fine
    EXPECT_THROW(save_safetensors(dir_ / "other.safetensors", large), Error);
  }
  EXPECT_THAT(files(), ElementsAre("model.safetensors"));
  expect_same(StateDict::open(dir_).get("a"), small["a"]);
}

TEST_F(Safetensors, ADeviceIsNotReplacedByAFile) {
  EXPECT_THROW(save_safetensors("/dev/full", {{"a", torch::ones({4})}}), Error);
  struct stat status {};
  ASSERT_EQ(::stat("/dev/full", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
}

TEST_F(Safetensors, HashDependsOnNamesTypesShapesAndBytesAlone) {
  const torch::Tensor a = torch::arange(6, torch::kFloat32);
  const std::string hash = hash_tensors({{"a", a}, {"b", a}});
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ(hash_tensors({{"b", a.clone()}, {"a", a.clone()}}), hash);
  EXPECT_EQ(hash_tensors({{"a", a.view({2, 3}).t().contiguous().t().reshape({6})}, {"b", a}}), hash);
  EXPECT_NE(hash_tensors({{"a", a}, {"c", a}}), hash);
  EXPECT_NE(hash_tensors({{"a", a.view({2, 3})}, {"b", a}}), hash);
  EXPECT_NE(hash_tensors({{"a", a.view(torch::kInt32)}, {"b", a}}), hash);
  torch::Tensor other = a.clone();
  other[5] = 5.5f;
  EXPECT_NE(hash_tensors({{"a", a}, {"b", other}}), hash);
}

}  // namespace
}  // namespace mose::io
