// Files of torch.save, put together byte by byte.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace mose::io::bytes {

using Named = std::vector<std::pair<std::string, std::string>>;  // in this order

inline std::string number(uint64_t value, size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

template <class T>
std::string values(std::initializer_list<T> list) {
  return {reinterpret_cast<const char*>(list.begin()), list.size() * sizeof(T)};
}

// --- pickles: each function gives the opcodes that leave one value on the stack ---

const std::string kProtocol2 = "\x80\x02";

inline std::string text(const std::string& value) { return "X" + number(value.size(), 4) + value; }
inline std::string integer(int64_t value) { return "\x8a\x08" + number(static_cast<uint64_t>(value), 8); }
inline std::string global(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }
inline std::string call(const std::string& function, const std::string& arguments) { return function + arguments + "R"; }

inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const auto& item : items) out += item;
  return out + "t";
}

inline std::string sizes(const std::vector<int64_t>& list) {
  std::vector<std::string> items;
  for (const int64_t value : list) items.push_back(integer(value));
  return tuple(items);
}

inline std::string storage(const std::string& key, int64_t elements, const std::string& type = "FloatStorage") {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(elements)}) + "Q";
}

// As storages are written in the form before torch 1.6.
inline std::string legacy_storage(const std::string& key, int64_t elements, const std::string& view = "N") {
  return tuple({text("storage"), global("torch", "FloatStorage"), text(key), text("cpu"), integer(elements), view}) + "Q";
}

const std::string kHooks = call(global("collections", "OrderedDict"), ")");

inline std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              tuple({storage, integer(offset), sizes(shape), sizes(strides), "\x89", kHooks}));
}

inline std::string dictionary(const Named& items) {
  std::string out = "}(";
  for (const auto& [name, value] : items) out += text(name) + value;
  return out + "u";
}

inline std::string pickle(const std::string& value) { return kProtocol2 + value + "."; }

// --- containers ---

struct Entry {
  std::string name, data;
  uint64_t method = 0, flags = 0;
};

// With `wide` every size and offset is in a zip64 field.
inline std::string zip(const std::vector<Entry>& entries, bool wide = false) {
  std::string out, directory;
  for (const Entry& e : entries) {
    const uint64_t local = out.size(), size = e.data.size(), narrow = wide ? 0xffffffff : size;
    std::string head = number(0x04034b50, 4) + number(45, 2) + number(e.flags, 2) + number(e.method, 2) + number(0, 8);
    std::string padding = number(0x4246, 2);  // as torch.save pads, so that data is aligned
    const size_t unpadded = local + 30 + e.name.size() + 4;
    padding += number((64 - unpadded % 64) % 64, 2) + std::string((64 - unpadded % 64) % 64, 'Z');
    out += head + number(narrow, 4) + number(narrow, 4) + number(e.name.size(), 2) + number(padding.size(), 2) + e.name + padding + e.data;
    const std::string extra = wide ? number(1, 2) + number(24, 2) + number(size, 8) + number(size, 8) + number(local, 8) : "";
    directory += number(0x02014b50, 4) + number(45, 2) + number(45, 2) + number(e.flags, 2) + number(e.method, 2) + number(0, 8) +
                 number(narrow, 4) + number(narrow, 4) + number(e.name.size(), 2) + number(extra.size(), 2) + number(0, 2) +
                 number(0, 8) + number(wide ? 0xffffffff : local, 4) + e.name + extra;
  }
  const uint64_t at = out.size(), count = entries.size();
  out += directory;
  if (wide) {
    const uint64_t end64 = out.size();
    out += number(0x06064b50, 4) + number(44, 8) + number(45, 2) + number(45, 2) + number(0, 8) + number(count, 8) +
           number(count, 8) + number(directory.size(), 8) + number(at, 8);
    out += number(0x07064b50, 4) + number(0, 4) + number(end64, 8) + number(1, 4);
  }
  return out + number(0x06054b50, 4) + number(0, 4) + number(wide ? 0xffff : count, 2) + number(wide ? 0xffff : count, 2) +
         number(directory.size(), 4) + number(wide ? 0xffffffff : at, 4) + number(0, 2);
}

// What torch.save(state_dict) writes: the pickle and the storages by their keys.
inline std::string archive(const std::string& pickled, const Named& storages) {
  std::vector<Entry> entries{{"model/data.pkl", pickled}, {"model/byteorder", "little"}};
  for (const auto& [key, data] : storages) entries.push_back({"model/data/" + key, data});
  entries.push_back({"model/version", "3\n"});
  return zip(entries);
}

// The form before torch 1.6, of float storages.
inline std::string legacy(const std::string& pickled, const Named& storages, bool little_endian = true) {
  std::string out = kProtocol2 + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + pickle(integer(1001)) +
                    pickle(dictionary({{"protocol_version", integer(1001)}, {"little_endian", little_endian ? "\x88" : "\x89"}})) +
                    pickled;
  std::string keys = "](", data;
  for (const auto& [key, bytes] : storages) {
    keys += text(key);
    data += number(bytes.size() / sizeof(float), 8) + bytes;
  }
  return out + pickle(keys + "e") + data;
}

}  // namespace mose::io::bytes
