// Weights with random damage either open, and every byte of every tensor can be read, or are refused.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/files.h"
#include "mose/io/safetensors.h"
#include "support/damage.h"
#include "support/helpers.h"
#include "torch_bytes.h"

namespace mose::io {
namespace {

namespace fs = std::filesystem;
using namespace bytes;

class Mutation : public ::testing::Test {
 protected:
  void read_all(const fs::path& path) const {
    const StateDict file = StateDict::open(path);
    TensorMap tensors;
    for (const std::string& name : file.names()) tensors[name] = file.get(name);
    hash_tensors(tensors);
  }
  void read_bytes(const std::string& content) const {
    write_quickly(folder_.path / "weights", content);
    read_all(folder_.path / "weights");
  }
  TemporaryFolder folder_;
};

std::string safetensors() {
  const TemporaryFolder folder;
  save_safetensors(folder.path / "a", {{"a", torch::arange(15, torch::kFloat32)}, {"b", torch::ones({7}, torch::kInt16)},
                                       {"c", torch::ones({4}, torch::kBool)}, {"e", torch::empty({0, 2})}}, {{"format", "pt"}});
  return read_file(folder.path / "a");
}

// A header of safetensors before data.
std::string with_header(const std::string& json, const std::string& data) { return number(json.size(), 8) + json + data; }

TEST_F(Mutation, SafetensorsFilesOpenOrAreRefused) {
  const std::string good = safetensors();
  const auto length = static_cast<size_t>(static_cast<unsigned char>(good[0]) + 256 * static_cast<unsigned char>(good[1]));
  survive("safetensors bytes", 2000, [&](RandomStream& random) {
    read_bytes(damaged_bytes(good, random, json_pieces(), static_cast<int64_t>(length)));
  });
  const Json header = Json::parse(good.substr(8, length));
  const int64_t opened = survive("safetensors header", 2000, [&](RandomStream& random) {
    read_bytes(with_header(damaged_json(header, random).dump(), good.substr(8 + length)));
  });
  EXPECT_GT(opened, 20);
  EXPECT_LT(opened, 1000);
}

// The opcodes and arguments of a state dict, in any order.
std::vector<std::string> pickle_pieces() {
  std::vector<std::string> pieces = {kHooks, storage("0", 6), storage("1", 1 << 30), sizes({2, 3}), sizes({INT64_MAX, 2}),
                                     tensor(storage("0", 6), 0, {2, 3}, {3, 1}), integer(-1), integer(INT64_MAX), text("a"),
                                     global("torch", "LongStorage"), global("os", "system")};
  for (const char opcode : std::string("(N\x88\x89}])t\x85\x86\x87" "aesu\x94\x93RbQ.")) pieces.emplace_back(1, opcode);
  for (const char opcode : std::string("Khq\x8c\x8a")) pieces.push_back(std::string(1, opcode) + "\x02");
  for (const char* wide : {"J", "X", "j", "r"}) pieces.push_back(wide + number(0xffffffff, 4));
  return pieces;
}

const std::string kState = pickle(dictionary({{"a", tensor(storage("0", 6), 0, {2, 3}, {3, 1})},
                                              {"b", tensor(storage("0", 6), 2, {2, 2}, {0, 1})},
                                              {"c", tensor(storage("1", 8, "BoolStorage"), 0, {8}, {1})}}) +
                                  dictionary({{"_metadata", dictionary({{"version", integer(1)}})}}) + "b");
const Named kStorages{{"0", std::string(24, '\1')}, {"1", std::string(8, '\1')}};

TEST_F(Mutation, PicklesOpenOrAreRefused) {
  const auto pieces = pickle_pieces();
  const int64_t opened = survive("pickle", 4000, [&](RandomStream& random) {
    read_bytes(archive(damaged_bytes(kState, random, pieces), kStorages));
  });
  EXPECT_GT(opened, 100);
  EXPECT_LT(opened, 2000);
}

TEST_F(Mutation, ArchivesOpenOrAreRefused) {
  const std::string good = archive(kState, kStorages);
  const std::vector<std::string> pieces = {number(0xffffffff, 4), number(0, 4), number(0x02014b50, 4), number(0x06054b50, 4),
                                           number(UINT64_MAX, 8), number(1, 2), "model/data/0", "model/data.pkl"};
  // Half of the damage to the directory, at the end.
  survive("archive", 3000, [&](RandomStream& random) {
    const size_t directory = good.find(number(0x02014b50, 4));
    const std::string tail = damaged_bytes(good.substr(directory), random, pieces);
    read_bytes(random.chance(0.5) ? good.substr(0, directory) + tail : damaged_bytes(good, random, pieces));
  });
}

TEST_F(Mutation, FilesOfTheOlderFormOpenOrAreRefused) {
  const std::string good = legacy(pickle(dictionary({{"a", tensor(legacy_storage("0", 6), 0, {2, 3}, {3, 1})},
                                                     {"b", tensor(legacy_storage("1", 2), 0, {2}, {1})}})),
                                  {{"0", std::string(24, '\1')}, {"1", std::string(8, '\1')}});
  const auto pieces = pickle_pieces();
  EXPECT_GT(survive("older form", 3000, [&](RandomStream& random) { read_bytes(damaged_bytes(good, random, pieces)); }), 50);
}

// Beside the directory lie files of the tensors' names, which no index may reach.
TEST_F(Mutation, IndexesStayInTheirDirectory) {
  const fs::path dir = folder_.path / "model";
  fs::create_directory(dir);
  const auto secret = torch::full({3}, 777.f);
  save_safetensors(folder_.path / "secret", {{"a", secret}, {"b", secret}});
  save_safetensors(dir / "one", {{"a", torch::ones({3})}});
  save_safetensors(dir / "two", {{"b", torch::ones({3})}});
  fs::create_symlink(folder_.path / "secret", dir / "link");
  fs::create_symlink(dir / "link", dir / "twice");
  fs::create_symlink("..", dir / "up");
  const std::vector<std::string> names = {"../secret", "link", "twice", "up/secret", "./one", "one/", "", ".", "..", "one",
                                          (folder_.path / "secret").string(), std::string("one\0", 4), "model/../../secret", "up"};
  const Json good{{"metadata", {{"total_size", 24}}}, {"weight_map", {{"a", "one"}, {"b", "two"}}}};
  const int64_t opened = survive("index", 3000, [&](RandomStream& random) {
    Json index = good;
    if (random.chance(0.7)) index["weight_map"][random.chance(0.5) ? "a" : "b"] = random.choice(names);
    if (random.chance(0.5)) index = damaged_json(index, random);
    std::string text = index.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (random.chance(0.3)) text = damaged_bytes(text, random, json_pieces());
    write_quickly(dir / (random.chance(0.5) ? "model.safetensors.index.json" : "pytorch_model.bin.index.json"), text);
    const StateDict file = StateDict::open(dir);
    for (const std::string& name : file.names()) EXPECT_FALSE(at::equal(file.get(name), secret)) << text;
  });
  EXPECT_GT(opened, 100);
}

}  // namespace
}  // namespace mose::io
