// torch.save's files, made by hand: what is read, and what is refused without anything being run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <set>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "support/helpers.h"
#include "torch_bytes.h"

namespace mose::io {
namespace {

namespace fs = std::filesystem;
using namespace bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TorchFiles : public ::testing::Test {
 protected:
  // Not write_file: hundreds of files, none of which has to be on disk.
  void put(const std::string& content, const std::string& name = "pytorch_model.bin") const {
    std::FILE* f = std::fopen((folder_.path / name).c_str(), "wb");
    ASSERT_NE(f, nullptr);
    ASSERT_EQ(std::fwrite(content.data(), 1, content.size(), f), content.size());
    std::fclose(f);
  }
  std::string refusal(const std::string& content) const {
    put(content);
    const std::string file = (folder_.path / "pytorch_model.bin").string();
    const std::string message = message_of<DataError>([&] { StateDict::open(file); });
    EXPECT_THAT(message, HasSubstr(file));
    return message;
  }
  // Of an archive with this pickle and six floats as storage "0".
  std::string pickle_refusal(const std::string& pickled) const { return refusal(archive(pickled, {{"0", six_}})); }

  TemporaryFolder folder_;
  const std::string six_ = values<float>({0, 1, 2, 3, 4, 5});
};

const std::string kGood = tensor(storage("0", 6), 0, {2, 3}, {3, 1});

TEST_F(TorchFiles, TensorsAreViewsOfTheirStorages) {
  const std::string parameter = call(global("torch._utils", "_rebuild_parameter"), tuple({kGood, "\x88", kHooks}));
  const std::string attributes = dictionary({{"_metadata", dictionary({{"", dictionary({{"version", integer(1)}})}})}});
  const std::string items = dictionary({{"plain", kGood},
                                        {"transposed", tensor(storage("0", 6), 0, {3, 2}, {1, 3})},
                                        {"row", tensor(storage("0", 6), 3, {3}, {1})},
                                        {"scalar", tensor(storage("0", 6), 5, {}, {})},
                                        {"expanded", tensor(storage("0", 6), 1, {2, 2}, {0, 1})},
                                        {"empty", tensor(storage("0", 6), 0, {0, 4}, {4, 1})},
                                        {"parameter", parameter}}).substr(1);
  put(archive(pickle(kHooks + items + attributes + "b"), {{"0", six_}}));
  const StateDict read = StateDict::open(folder_.path);
  const auto six = torch::arange(6, torch::kFloat32).view({2, 3});
  EXPECT_THAT(read.names(), ElementsAre("empty", "expanded", "parameter", "plain", "row", "scalar", "transposed"));
  EXPECT_TRUE(at::equal(read.get("plain"), six));
  EXPECT_TRUE(at::equal(read.get("transposed"), six.t()));
  EXPECT_TRUE(at::equal(read.get("row"), six[1]));
  EXPECT_TRUE(at::equal(read.get("scalar"), six[1][2]));
  EXPECT_TRUE(at::equal(read.get("expanded"), six[0].slice(0, 1).expand({2, 2})));
  EXPECT_EQ(read.get("empty").sizes(), (std::vector<int64_t>{0, 4}));
  EXPECT_TRUE(at::equal(read.get("parameter"), six));
  EXPECT_TRUE(read.get("row").is_alias_of(read.get("transposed")));
  EXPECT_EQ(read.get("row").data_ptr<float>(), read.get("plain").data_ptr<float>() + 3);
}

TEST_F(TorchFiles, EveryStorageTypeIsKnown) {
  const std::vector<std::pair<std::string, at::ScalarType>> types = {
      {"Double", at::kDouble}, {"Float", at::kFloat}, {"Half", at::kHalf},   {"BFloat16", at::kBFloat16}, {"Long", at::kLong},
      {"Int", at::kInt},       {"Short", at::kShort}, {"Char", at::kChar},   {"Byte", at::kByte},         {"Bool", at::kBool}};
  for (const auto& [name, type] : types) {
    SCOPED_TRACE(name);
    const auto count = static_cast<int64_t>(16 / c10::elementSize(type));
    const std::string data = std::string(1, '\1') + std::string(15, '\0');
    put(archive(pickle(dictionary({{"t", tensor(storage("0", count, name + "Storage"), 0, {count}, {1})}})), {{"0", data}}));
    const auto read = StateDict::open(folder_.path).get("t");
    EXPECT_EQ(read.scalar_type(), type);
    EXPECT_EQ(std::string(static_cast<const char*>(read.const_data_ptr()), 16), data);
  }
  EXPECT_THAT(refusal(archive(pickle(dictionary({{"t", tensor(storage("0", 1, "BoolStorage"), 0, {1}, {1})}})), {{"0", "\2"}})),
              HasSubstr("storage \"0\": element 0 is no BOOL but 2"));
}

TEST_F(TorchFiles, EveryProtocolIsRead) {
  // What protocols 4 and 5 write differently: frames, short text, names of globals from the stack, the memo.
  const auto named = [](const std::string& s) { return "\x8c" + number(s.size(), 1) + s + "\x94"; };
  const std::string body = "}" "\x94" "(" + named("t") + named("torch._utils") + named("_rebuild_tensor_v2") + "\x93\x94(" +
                           "(" + named("storage") + named("torch") + named("FloatStorage") + "\x93\x94" + named("0") +
                           named("cpu") + "K\x06tQ" + "M\x01" + std::string(1, '\0') + "J\x05" + std::string(3, '\0') + "\x85" +
                           "K\x01\x85\x89" + "}\x94t\x94R\x94u.";
  for (const char protocol : {2, 4, 5}) {
    put(archive(std::string("\x80") + protocol + "\x95" + number(body.size(), 8) + body, {{"0", six_}}));
    EXPECT_TRUE(at::equal(StateDict::open(folder_.path).get("t"), torch::arange(1, 6, torch::kFloat32))) << int(protocol);
  }
  for (const char protocol : {0, 1, 6, 127}) {
    EXPECT_THAT(pickle_refusal(std::string("\x80") + protocol + body), HasSubstr("expected 2 to 5")) << int(protocol);
  }
}

// A call of any global but the few of a state dict is refused by name, whether or not it is then called.
TEST_F(TorchFiles, GlobalsAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> hostile = {
      {"os", "system"},        {"posix", "system"},          {"builtins", "eval"},           {"__builtin__", "exec"},
      {"torch", "load"},       {"torch.storage", "_load_from_bytes"}, {"torch._utils", "_rebuild_tensor_v2 "},
      {"torch", "FloatStorage.from_file"}, {"collections", "OrderedDict.__init__"}, {"", ""}, {"torch", "Storage"}};
  for (const auto& [module, name] : hostile) {
    SCOPED_TRACE(module + "." + name);
    const std::string expected = "asks for \"" + module + "." + name + "\", which is refused";
    EXPECT_THAT(pickle_refusal(pickle(call(global(module, name), tuple({text("touch hacked")})))), HasSubstr(expected));
    EXPECT_THAT(pickle_refusal(pickle(text(module) + text(name) + "\x93" + ").")), HasSubstr(expected));
    EXPECT_THAT(pickle_refusal(pickle(dictionary({{"w", kGood}, {"x", global(module, name)}}))), HasSubstr(expected));
  }
  EXPECT_THAT(pickle_refusal(pickle(global("a\x1b[31m", "b"))), HasSubstr("a?[31m.b"));
  EXPECT_THAT(pickle_refusal(pickle(global("os", std::string(100000, 'x')))), HasSubstr("does not end"));
  EXPECT_THAT(pickle_refusal(pickle(call(text("os.system"), ")"))), HasSubstr("a call of text"));
  EXPECT_THAT(pickle_refusal(pickle(integer(1) + "}b")), HasSubstr("attributes of an integer"));
}

TEST_F(TorchFiles, OpcodesThatNoStateDictNeedsAreRefused) {
  const std::string known = "\x95(N\x88\x89JKM\x8aGX\x8c}])t\x85\x86\x87" "aesuqr\x94hjc\x93RbQ.";
  for (int opcode = 0; opcode < 256; ++opcode) {
    const std::string one(1, static_cast<char>(opcode));
    SCOPED_TRACE(opcode);
    // On an empty stack, and on one with values of every kind. The None makes it no state dict in any case.
    const std::string bare = pickle_refusal(pickle(one + "N"));
    const std::string full = pickle_refusal(pickle("](K\x01)" + text("a") + text("b") + one + "N" + std::string(300, '.')));
    if (known.find(one) != std::string::npos) continue;
    EXPECT_THAT(bare, HasSubstr(mose::str("opcode ", opcode)));
    EXPECT_THAT(full, HasSubstr(mose::str("opcode ", opcode)));
  }
}

TEST_F(TorchFiles, DamagedPicklesAreRefused) {
  const std::string huge = "\xff\xff\xff\xff";
  const std::pair<std::string, const char*> cases[] = {
      {"", "ends too early"},
      {"x", "expected a pickle"},
      {kProtocol2, "ends too early"},
      {kProtocol2 + "X" + huge, "ends too early"},
      {kProtocol2 + "\x8a\xff", "ends too early"},
      {kProtocol2 + "\x95" + huge + huge, "frame"},
      {kProtocol2 + "\x95" + number(100, 8) + "N.", "frame"},
      {kProtocol2 + "cos", "does not end"},
      {pickle(""), "missing on the stack"},
      {pickle("(N"), "expected a dictionary"},
      {pickle("N("), "missing on the stack"},
      {pickle("N(\x85"), "missing on the stack"},
      {pickle("t"), "a mark is missing"},
      {pickle("Nu"), "a mark is missing"},
      {pickle("N(Nu"), "a dictionary to add to, found None"},
      {pickle("](NNu"), "a dictionary to add to, found a list"},
      {pickle("}(NNNu"), "key without a value"},
      {pickle("}Na"), "a list to add to, found a dictionary"},
      {pickle("h\x07"), "memo slot 7 is empty"},
      {pickle("j" + huge), "memo slot 4294967295 is empty"},
      {pickle("Nq\x01"), "memo slot 1 after 0 others"},
      {pickle("Nr" + huge), "memo slot 4294967295 after 0"},
      {pickle("q" + std::string(1, '\0')), "missing on the stack"},
      {pickle("NQ"), "persistent id that is no tuple"},
      {pickle(")Q"), "persistent id of 0 parts"},
      {pickle("NN\x93"), "whose name is no text"},
      {pickle(global("collections", "OrderedDict") + "NR"), "without a tuple"},
      {pickle(call(global("collections", "OrderedDict"), tuple({"]"}))), "OrderedDict with arguments"},
      {pickle(call(global("torch._utils", "_rebuild_parameter"), ")")), "parameter of no tensor"},
      {pickle(call(global("torch._utils", "_rebuild_tensor_v2"), ")")), "tensor of 0 arguments"},
      {pickle("]"), "expected a dictionary of tensors, found a list"},
      {pickle(kGood), "expected a dictionary of tensors, found a tensor"},
      {pickle("}(K\x01" + kGood + "u"), "expected names of tensors, found an integer"},
      {pickle(dictionary({{"epoch", integer(3)}})), "\"epoch\": expected a tensor, found an integer"},
      {pickle(dictionary({{"state_dict", dictionary({{"a", kGood}})}})), "save model.state_dict() alone"},
      {pickle(dictionary({{"a", kGood}, {"a", kGood}})), "\"a\" comes twice"},
  };
  for (const auto& [pickled, message] : cases) EXPECT_THAT(pickle_refusal(pickled), HasSubstr(message));
}

TEST_F(TorchFiles, TensorsThatDoNotFitTheirStorageAreRefused) {
  const int64_t most = INT64_MAX;
  const std::pair<std::string, const char*> cases[] = {
      {tensor(storage("0", 6), 0, {7}, {1}), "beyond its storage"},
      {tensor(storage("0", 6), 6, {1}, {1}), "beyond its storage"},
      {tensor(storage("0", 6), most, {1}, {1}), "beyond its storage"},
      {tensor(storage("0", 6), 0, {2, 3}, {4, 1}), "beyond its storage"},
      {tensor(storage("0", 6), 1, {2}, {most}), "beyond its storage"},
      {tensor(storage("0", 6), 0, {3, 3}, {most / 2 + 1, most / 2 + 1}), "beyond its storage"},
      {tensor(storage("0", 6), -1, {1}, {1}), "expected an offset"},
      {tensor(storage("0", 6), 0, {-1}, {1}), "below 0"},
      {tensor(storage("0", 6), 0, {2}, {-1}), "below 0"},
      {tensor(storage("0", 6), 0, {2}, {1, 1}), "1 sizes and 2 strides"},
      {tensor(storage("0", 6), 0, {most}, {0}), "too large"},
      {tensor(storage("0", 6), 0, {1 << 20, 1 << 20, 1 << 20}, {0, 0, 0}), "repeats 24 bytes"},
      {tensor(storage("0", 6), 0, {1 << 30}, {0}), "repeats 24 bytes"},
      {tensor(storage("0", 6), 0, {0, most, most}, {1, 1, 1}), "too large"},
      {tensor(storage("0", 6), 0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)), "tuple of sizes"},
      {tensor(storage("0", 7), 0, {6}, {1}), "24 bytes: too few for 7 elements"},
      {tensor(storage("0", most), 0, {6}, {1}), "too few"},
      {tensor(storage("0", -1), 0, {6}, {1}), "type, key, device and size"},
      {tensor(storage("0", 6, "LongStorage"), 0, {6}, {1}), "too few"},
      {tensor(storage("1", 6), 0, {6}, {1}), "storage \"1\" is missing"},
      {tensor(storage("../0", 6), 0, {6}, {1}), "storage \"../0\" is missing"},
      {tensor(text("0"), 0, {6}, {1}), "expected a storage, found text"},
      {tensor(legacy_storage("0", 6, tuple({text("0"), integer(0), integer(6)})), 0, {6}, {1}), "is part of another"},
      {call(global("torch._utils", "_rebuild_tensor_v2"),
            tuple({storage("0", 6), integer(0), sizes({6}), sizes({1}), "\x89", kHooks, dictionary({{"neg", "\x88"}})})),
       "conjugated or negated"},
  };
  for (const auto& [value, message] : cases) {
    EXPECT_THAT(pickle_refusal(pickle(dictionary({{"w", value}}))), HasSubstr(message));
  }
  const std::string twice = dictionary({{"a", kGood}, {"b", tensor(storage("0", 12, "HalfStorage"), 0, {12}, {1})}});
  EXPECT_THAT(pickle_refusal(pickle(twice)), HasSubstr("two types or sizes"));
}

// Nesting and repetition that would cost a naive reader its stack or its memory.
TEST_F(TorchFiles, BombsAreRefusedOrHarmless) {
  const int64_t deep = 1'000'000;
  EXPECT_THAT(pickle_refusal(pickle(")" + std::string(deep, '\x85'))), HasSubstr("found a tuple"));
  EXPECT_THAT(pickle_refusal(pickle(std::string(deep, ']') + std::string(deep - 1, 'a'))), HasSubstr("found a list"));
  EXPECT_THAT(pickle_refusal(pickle(std::string(5 * deep, ']'))), HasSubstr("values are no state dict"));
  EXPECT_THAT(pickle_refusal(pickle(std::string(5 * deep, '('))), HasSubstr("marks are no state dict"));
  EXPECT_THAT(pickle_refusal(pickle("N" + std::string(5 * deep, '\x94'))), HasSubstr("memo slot"));
  EXPECT_THAT(pickle_refusal(pickle("X" + number(70 << 20, 4) + std::string(70 << 20, 'a'))), HasSubstr("no state dict"));
  // A list that holds itself; a dictionary that is its own value.
  EXPECT_THAT(pickle_refusal(pickle("]q" + std::string(1, '\0') + "h" + std::string(1, '\0') + "a")), HasSubstr("found a list"));
  EXPECT_THAT(pickle_refusal(pickle("}q" + std::string(1, '\0') + text("a") + "h" + std::string(1, '\0') + "s")),
              HasSubstr("\"a\": expected a tensor, found a dictionary"));
  // One long tuple given to many calls, which must not copy it each time.
  std::string calls = "(" + std::string(deep, 'N') + "tq" + std::string(1, '\0');
  calls += global("torch._utils", "_rebuild_tensor_v2") + "q\x01";
  for (int i = 0; i < 100'000; ++i) calls += "h\x01h" + std::string(1, '\0') + "R";
  EXPECT_THAT(pickle_refusal(pickle(calls)), HasSubstr("tensor of 1000000 arguments"));
}

TEST_F(TorchFiles, EveryTruncationIsRefused) {
  const std::string state = pickle(dictionary({{"a", kGood}, {"b", tensor(storage("0", 6), 3, {3}, {1})}}));
  const std::string old_state = pickle(dictionary({{"a", tensor(legacy_storage("0", 6), 0, {6}, {1})}}));
  for (const std::string& good : {archive(state, {{"0", six_}}), legacy(old_state, {{"0", six_}})}) {
    put(good);
    ASSERT_NO_THROW(StateDict::open(folder_.path));
    for (size_t length = 0; length < good.size(); ++length) {
      SCOPED_TRACE(length);
      refusal(good.substr(0, length));
    }
  }
  for (size_t length = 0; length < state.size(); ++length) pickle_refusal(state.substr(0, length));
}

TEST_F(TorchFiles, ZipArchivesAreTakenAsTorchWritesThem) {
  const std::string state = pickle(dictionary({{"a", kGood}}));
  const Entry data{"m/data.pkl", state}, zero{"m/data/0", six_};
  put(zip({data, zero}, true));  // zip64 throughout
  EXPECT_EQ(StateDict::open(folder_.path).get("a").sum().item<double>(), 15);
  put(zip({data, zero}) + "comment");
  EXPECT_THROW(StateDict::open(folder_.path), DataError);
  EXPECT_THAT(refusal(zip({data, {"m/data/0", six_, 8}})), HasSubstr("\"m/data/0\" is compressed (method 8)"));
  EXPECT_THAT(refusal(zip({data, {"m/data/0", six_, 0, 1}})), HasSubstr("\"m/data/0\" is encrypted"));
  EXPECT_THAT(refusal(zip({data, zero, zero})), HasSubstr("\"m/data/0\" comes twice"));
  EXPECT_THAT(refusal(zip({data, zero, {"m/byteorder", "big"}})), HasSubstr("byte order \"big\": expected little"));
  EXPECT_THAT(refusal(zip({zero})), HasSubstr("without data.pkl"));
  EXPECT_THAT(refusal(zip({data, zero, {"n/data.pkl", state}})), HasSubstr("two pickles"));
  EXPECT_THAT(refusal(zip({data, {"n/data/0", six_}})), HasSubstr("storage \"0\" is missing"));
  // An entry whose size or place is beyond the file.
  const std::string good = zip({data, zero});
  const size_t record = good.rfind(number(0x02014b50, 4));
  for (const size_t field : {20, 24, 42}) {
    std::string bad = good;
    bad.replace(record + field, 4, number(0xfffffff0, 4));
    if (field != 42) bad.replace(record + 20, 8, number(0xfffffff0, 4) + number(0xfffffff0, 4));
    EXPECT_THAT(refusal(bad), HasSubstr("beyond the end"));
  }
}

// Rezipped by other tools, data may be at any byte.
TEST_F(TorchFiles, UnalignedStoragesAreReadRight) {
  const std::string state = pickle(dictionary({{"a", kGood}}));
  for (size_t shift = 0; shift < 4; ++shift) {
    put(zip({{"m/data.pkl", state}, {"m/data/0", std::string(shift, 'x') + six_}}));
    std::string content = read_file(folder_.path / "pytorch_model.bin");
    const size_t record = content.rfind(number(0x02014b50, 4)), local = content.rfind(number(0x04034b50, 4));
    // The name takes the shift's bytes out of the data: "m/data/0" + "xx".
    const uint64_t extra = static_cast<unsigned char>(content[local + 28]) + shift;
    content.replace(local + 28, 2, number(extra, 2));
    content.replace(record + 20, 8, number(six_.size(), 4) + number(six_.size(), 4));
    put(content);
    EXPECT_TRUE(at::equal(StateDict::open(folder_.path).get("a"), torch::arange(6, torch::kFloat32).view({2, 3}))) << shift;
  }
}

TEST_F(TorchFiles, TheFormBeforeTorch16IsRead) {
  const std::string state = pickle(dictionary({{"a", tensor(legacy_storage("17", 6), 2, {2, 2}, {2, 1})},
                                               {"b", tensor(legacy_storage("9", 1), 0, {1}, {1})}}));
  const Named storages{{"9", values<float>({7})}, {"17", six_}};
  put(legacy(state, storages));
  const StateDict read = StateDict::open(folder_.path);
  EXPECT_TRUE(at::equal(read.get("a"), torch::arange(2, 6, torch::kFloat32).view({2, 2})));
  EXPECT_EQ(read.get("b").item<float>(), 7);
  EXPECT_THAT(refusal(legacy(state, storages, false)), HasSubstr("byte order"));
  EXPECT_THAT(refusal(legacy(state, {{"17", six_}})), HasSubstr("storage \"9\" is missing"));
  EXPECT_THAT(refusal(legacy(state, {{"17", six_}, {"17", six_}})), HasSubstr("comes twice"));
  EXPECT_THAT(refusal(legacy(state, {{"17", six_}, {"3", six_}})), HasSubstr("storage \"3\" has no type"));
  EXPECT_THAT(refusal(legacy(pickle(global("os", "system") + "."), {})), HasSubstr("os.system"));
  std::string other = legacy(state, storages);
  other.replace(other.find(pickle(integer(1001))), pickle(integer(1001)).size(), pickle(integer(1002)));
  EXPECT_THAT(refusal(other), HasSubstr("protocol 1002"));
}

TEST_F(TorchFiles, ADirectoryIsSearchedInOrder) {
  const auto marked = [](float value) { return archive(pickle(dictionary({{"a", tensor(storage("0", 1), 0, {1}, {1})}})), {{"0", values<float>({value})}}); };
  const auto found = [&] { return StateDict::open(folder_.path).get("a").item<float>(); };
  EXPECT_THAT(message_of<DataError>([&] { found(); }), HasSubstr("neither model.safetensors nor pytorch_model.bin"));
  put(marked(1));
  EXPECT_EQ(found(), 1);
  put(marked(2), "pytorch_model-00001-of-00001.bin");
  save_json(folder_.path / "pytorch_model.bin.index.json", {{"weight_map", {{"a", "pytorch_model-00001-of-00001.bin"}}}});
  EXPECT_EQ(found(), 2);
  save_safetensors(folder_.path / "model-00001-of-00001.safetensors", {{"a", torch::full({1}, 3.f)}});
  save_json(folder_.path / "model.safetensors.index.json", {{"weight_map", {{"a", "model-00001-of-00001.safetensors"}}}});
  EXPECT_EQ(found(), 3);
  save_safetensors(folder_.path / "model.safetensors", {{"a", torch::full({1}, 4.f)}});
  EXPECT_EQ(found(), 4);
  // A single file is taken by its content.
  put(marked(5), "any.name");
  EXPECT_EQ(StateDict::open(folder_.path / "any.name").get("a").item<float>(), 5);
  put("{}", "other.bin");
  EXPECT_THAT(message_of<DataError>([&] { StateDict::open(folder_.path / "other.bin"); }), HasSubstr("torch.save"));
}

// An index may name what lies beside it. A link out of the directory is refused, but for the cache of Hugging
// Face, where every file is one.
TEST_F(TorchFiles, AnIndexReachesNoOtherDirectory) {
  const TemporaryFolder outside;
  const std::string good = archive(pickle(dictionary({{"a", kGood}})), {{"0", six_}});
  const fs::path dir = folder_.path / "models--x--y/snapshots/1234", blobs = folder_.path / "models--x--y/blobs";
  fs::create_directories(dir);
  fs::create_directories(blobs);
  const auto try_index = [&](const std::string& name) {
    for (const char* index : {"pytorch_model.bin.index.json", "model.safetensors.index.json"}) {
      save_json(dir / index, {{"weight_map", {{"a", name}}}});
    }
    StateDict::open(dir).get("a");
  };
  put(good);
  fs::rename(folder_.path / "pytorch_model.bin", outside.path / "secret");
  for (const std::string& name : {std::string("../secret"), (outside.path / "secret").string(), std::string(".."), std::string("")}) {
    EXPECT_THAT(message_of<DataError>([&] { try_index(name); }), HasSubstr("plain name"));
  }
  fs::create_symlink(outside.path / "secret", dir / "shard.bin");
  EXPECT_THAT(message_of<DataError>([&] { try_index("shard.bin"); }), HasSubstr("a link to " + fs::canonical(outside.path / "secret").string()));
  fs::create_symlink(dir / "shard.bin", dir / "again.bin");
  EXPECT_THAT(message_of<DataError>([&] { try_index("again.bin"); }), HasSubstr("outside the directory"));
  fs::create_symlink(dir / "itself.bin", dir / "itself.bin");
  EXPECT_THROW(try_index("itself.bin"), DataError);
  fs::create_directory(dir / "folder");
  EXPECT_THAT(message_of<DataError>([&] { try_index("folder"); }), HasSubstr("not a regular file"));
  put(good, "models--x--y/blobs/5e5e");
  fs::create_symlink("../../blobs/5e5e", dir / "cached.bin");
  EXPECT_NO_THROW(try_index("cached.bin"));
  fs::create_directory_symlink(dir, folder_.path / "link");
  EXPECT_NO_THROW(StateDict::open(folder_.path / "link"));
}

}  // namespace
}  // namespace mose::io
