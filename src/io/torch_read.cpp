// torch.save's files. Both forms hold a pickle, in which a tensor is a view (offset, shape, strides) of a
// storage known by its key, and the bytes of the storages: in the newer form entries data/<key> of a zip
// archive, in the older one after the pickles, each behind its count of elements.
#include <optional>

#include "io/pickle.h"
#include "io/printable.h"
#include "io/safetensors_header.h"
#include "io/weight_files.h"
#include "io/zip.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::io {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kZip = "PK\x03\x04";
// torch.serialization.MAGIC_NUMBER, 0x1950a86a20f9469cfc6c, as a pickle has it.
constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kProtocol = 1001;
constexpr size_t kMostDimensions = 64;  // of LibTorch's element-wise kernels
// An expanded tensor repeats its storage's elements. Written out it may take this much more.
constexpr uint64_t kMostRepeated = uint64_t{16} << 20;

struct Storage {
  std::string_view key;
  at::ScalarType type = at::kFloat;
  int64_t elements = 0;
};

// The state dict of one file. `where` names the file in errors.
class TorchFile {
 public:
  explicit TorchFile(std::shared_ptr<MappedFile> file) : file_(std::move(file)), where_(file_->name()) {}

  WeightFile read() {
    if (file_->bytes().substr(0, kZip.size()) == kZip) {
      open_zip();
    } else {
      open_legacy();
    }
    if (pickle_.root().kind != Kind::kDict) fail("expected a dictionary of tensors, found ", kind_name(pickle_.root().kind));
    WeightFile out;
    const auto& items = pickle_.root().items;
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const PickleValue& key = pickle_[items[i]];
      if (key.kind != Kind::kText) fail("expected names of tensors, found ", kind_name(key.kind));
      const std::string shown = printable(key.text);
      if (!out.tensors.emplace(key.text, tensor(pickle_[items[i + 1]], shown)).second) fail("tensor \"", shown, "\" comes twice");
    }
    return out;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw DataError(mose::str(where_, ": ", parts...));
  }

  uint64_t position(std::string_view part) const { return static_cast<uint64_t>(part.data() - file_->data()); }

  void open_zip() {
    const auto entries = zip_entries(file_->bytes(), where_);
    std::optional<std::string> folder;
    for (const auto& [name, bytes] : entries) {
      const size_t slash = name.find('/');
      if (slash == std::string_view::npos || name.substr(slash) != "/data.pkl") continue;
      if (folder) fail("two pickles, \"", printable(*folder), "data.pkl\" and \"", printable(name), "\": expected one");
      folder = name.substr(0, slash + 1);
    }
    if (!folder) fail("a zip archive without data.pkl is no file of torch.save");
    if (const auto order = entries.find(*folder + "byteorder"); order != entries.end() && order->second != "little") {
      fail("byte order \"", printable(order->second), "\": expected little");
    }
    std::string_view bytes = entries.at(*folder + "data.pkl");
    pickle_ = Pickle::read(bytes, where_);
    const std::string data = *folder + "data/";
    for (auto it = entries.lower_bound(data); it != entries.end() && it->first.starts_with(data); ++it) {
      data_[it->first.substr(data.size())] = it->second;
    }
  }

  // Pickles of a magic number, a protocol, facts about the machine, the state dict and the list of storages.
  void open_legacy() {
    std::string_view rest = file_->bytes();
    Pickle::read(rest, where_);  // is_torch has seen the magic number
    if (const Pickle protocol = Pickle::read(rest, where_); protocol.root().number != kProtocol) {
      fail("protocol ", protocol.root().number, " of torch.save: expected ", kProtocol);
    }
    const Pickle machine = Pickle::read(rest, where_);
    if (machine.root().kind != Kind::kDict) fail("expected facts about the machine, found ", kind_name(machine.root().kind));
    for (size_t i = 0; i + 1 < machine.root().items.size(); i += 2) {
      if (machine[machine.root().items[i]].text == "little_endian" && machine[machine.root().items[i + 1]].number == 0) {
        fail("byte order: expected little-endian");
      }
    }
    pickle_ = Pickle::read(rest, where_);
    const Pickle keys = Pickle::read(rest, where_);
    if (keys.root().kind != Kind::kList) fail("expected the list of storages, found ", kind_name(keys.root().kind));
    const auto sizes = legacy_sizes();
    for (const uint32_t id : keys.root().items) {
      const std::string_view key = keys[id].text;
      const auto storage = sizes.find(key);
      if (storage == sizes.end()) fail("storage \"", printable(key), "\" has no type, so its size is unknown");
      uint64_t elements = 0, size = 0;
      if (rest.size() < sizeof elements) fail("storage \"", printable(key), "\" is missing: the file is cut off");
      for (size_t i = sizeof elements; i-- > 0;) elements = elements << 8 | static_cast<unsigned char>(rest[i]);
      rest.remove_prefix(sizeof elements);
      if (__builtin_mul_overflow(elements, storage->second, &size) || size > rest.size()) {
        fail("storage \"", printable(key), "\" of ", elements, " elements ends beyond the file: it is cut off");
      }
      if (!data_.emplace(key, rest.substr(0, size)).second) fail("storage \"", printable(key), "\" comes twice");
      rest.remove_prefix(size);
    }
  }

  // Bytes of an element of each storage that the state dict names.
  std::map<std::string_view, uint64_t> legacy_sizes() const {
    std::map<std::string_view, uint64_t> out;
    for (uint32_t id = 0; id < pickle_.size(); ++id) {
      if (pickle_[id].kind != Kind::kStorage) continue;
      const Storage s = storage(pickle_[id]);
      out[s.key] = c10::elementSize(s.type);
    }
    return out;
  }

  // ("storage", type, key, device, elements) and, in the older form, a part of another storage or None.
  Storage storage(const PickleValue& value) const {
    const auto part = [&](size_t i) -> const PickleValue& { return pickle_[value.items[i]]; };
    if (value.kind != Kind::kStorage) fail("expected a storage, found ", kind_name(value.kind));
    if (part(0).text != "storage" || part(1).kind != Kind::kStorageType || part(2).kind != Kind::kText ||
        part(4).kind != Kind::kInteger || part(4).number < 0) {
      fail("expected a storage's type, key, device and size");
    }
    if (value.items.size() > 5 && part(5).kind != Kind::kNone) {
      fail("storage \"", printable(part(2).text), "\" is part of another: save the file again with torch 1.6 or later");
    }
    return {part(2).text, static_cast<at::ScalarType>(part(1).number), part(4).number};
  }

  // All tensors of a storage are views of this one.
  const torch::Tensor& storage_tensor(const Storage& s) {
    if (const auto known = storages_.find(s.key); known != storages_.end()) {
      if (known->second.scalar_type() != s.type || known->second.numel() != s.elements) {
        fail("storage \"", printable(s.key), "\" has two types or sizes");
      }
      return known->second;
    }
    const auto data = data_.find(s.key);
    if (data == data_.end()) fail("storage \"", printable(s.key), "\" is missing");
    uint64_t bytes = 0;
    if (!tensor_bytes(s.type, {s.elements}, bytes) || bytes > data->second.size()) {
      fail("storage \"", printable(s.key), "\" has ", data->second.size(), " bytes: too few for ", s.elements, " elements of type ", s.type);
    }
    return storages_[s.key] = mapped_tensor(file_, position(data->second), {s.elements}, s.type, mose::str("storage \"", printable(s.key), "\""));
  }

  std::vector<int64_t> sizes(const PickleValue& tuple, const std::string& name) const {
    if (tuple.kind != Kind::kTuple || tuple.items.size() > kMostDimensions) fail("tensor \"", name, "\": expected a tuple of sizes");
    std::vector<int64_t> out;
    for (const uint32_t id : tuple.items) {
      if (pickle_[id].kind != Kind::kInteger || pickle_[id].number < 0) fail("tensor \"", name, "\": a size or stride below 0 or no integer");
      out.push_back(pickle_[id].number);
    }
    return out;
  }

  // (storage, offset, shape, strides, requires_grad, hooks) and sometimes a dictionary of marks, such as
  // "negated", which would change the values.
  torch::Tensor tensor(const PickleValue& value, const std::string& name) {
    if (value.kind != Kind::kTensor) {
      fail("\"", name, "\": expected a tensor, found ", kind_name(value.kind), "; save model.state_dict() alone");
    }
    const auto part = [&](size_t i) -> const PickleValue& { return pickle_[value.items[i]]; };
    if (value.items.size() > 6 && !part(6).items.empty()) fail("tensor \"", name, "\" is marked as conjugated or negated");
    const Storage s = storage(part(0));
    if (part(1).kind != Kind::kInteger || part(1).number < 0) fail("tensor \"", name, "\": expected an offset");
    const int64_t offset = part(1).number;
    const auto shape = sizes(part(2), name), strides = sizes(part(3), name);
    uint64_t bytes = 0;
    if (shape.size() != strides.size()) fail("tensor \"", name, "\": ", shape.size(), " sizes and ", strides.size(), " strides");
    if (!tensor_bytes(s.type, shape, bytes)) fail("tensor \"", name, "\" of shape ", at::IntArrayRef(shape), " is too large");
    if (bytes == 0) return torch::empty(shape, s.type);
    int64_t last = offset;
    for (size_t i = 0; i < shape.size(); ++i) {
      int64_t reach = 0;
      if (__builtin_mul_overflow(shape[i] - 1, strides[i], &reach) || __builtin_add_overflow(last, reach, &last)) last = s.elements;
      if (last >= s.elements) break;
    }
    if (last >= s.elements) fail("tensor \"", name, "\" reaches beyond its storage of ", s.elements, " elements");
    const torch::Tensor& all = storage_tensor(s);
    if (bytes > all.nbytes() + kMostRepeated) {
      fail("tensor \"", name, "\" repeats ", all.nbytes(), " bytes until they are ", bytes, ", which no weight needs");
    }
    return all.as_strided(shape, strides, offset);
  }

  std::shared_ptr<MappedFile> file_;
  std::string where_;
  Pickle pickle_;
  std::map<std::string_view, std::string_view> data_;  // a storage's bytes by its key
  std::map<std::string_view, torch::Tensor> storages_;
};

}  // namespace

bool is_torch(std::string_view bytes) {
  // The header of a safetensors file may begin with any bytes, but its JSON starts at the ninth.
  if (bytes.size() > kHeaderLengthBytes && bytes[kHeaderLengthBytes] == '{') return false;
  return bytes.starts_with(kZip) || (bytes.starts_with('\x80') && bytes.substr(0, 32).find(kMagic) != std::string_view::npos);
}

WeightFile read_torch(const std::shared_ptr<MappedFile>& file) {
  if (!is_torch(file->bytes())) throw DataError(mose::str(file->name(), ": neither a zip archive nor a pickle of torch.save"));
  return TorchFile(file).read();
}

}  // namespace mose::io
