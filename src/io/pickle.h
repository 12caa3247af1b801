// What a pickle says, read by a machine that can make numbers, text, tuples, lists, dictionaries and
// descriptions of tensors, and nothing else. A pickle is a program: "load the global os.system, call it
// with these arguments" is two of its instructions. Here a global is a word to look up in a short list and
// a call is a note of its arguments, so there is nothing to run.
//
// Opcodes: https://docs.python.org/3/library/pickletools.html, protocols 2 to 5, those that torch.save
// needs for a state dict; globals: OrderedDict, torch.*Storage and the functions that rebuild tensors and
// parameters of a storage.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mose::io {

struct PickleValue {
  enum class Kind : uint8_t {
    kNone, kBool, kInteger, kReal, kText, kTuple, kList, kDict,
    kStorageType,  // torch.FloatStorage and so on
    kFunction,     // one that may be called
    kStorage,      // items as persistent_id of torch.save gives them: "storage", type, key, device, elements, …
    kTensor,       // items as _rebuild_tensor_v2 takes them: storage, offset, shape, strides, …
  };
  Kind kind = Kind::kNone;
  int64_t number = 0;             // of kBool and kInteger; an at::ScalarType of kStorageType
  std::string_view text{};        // of kText; of an integer wider than 64 bits its bytes
  std::vector<uint32_t> items{};  // members, by their place in Pickle; of kDict keys and values in turn
};

// The values of one pickle. They refer to each other by number, so no depth of nesting needs a deep stack,
// and text is a view of the pickle's bytes.
class Pickle {
 public:
  // Reads one pickle and cuts it off the front of `bytes`; what follows stays. DataError names `where`, the
  // position, and the global or opcode that was refused.
  static Pickle read(std::string_view& bytes, const std::string& where);

  const PickleValue& root() const { return values_[root_]; }
  const PickleValue& operator[](uint32_t id) const { return values_[id]; }
  uint32_t size() const { return static_cast<uint32_t>(values_.size()); }

 private:
  friend class PickleMachine;
  std::vector<PickleValue> values_;
  uint32_t root_ = 0;
};

const char* kind_name(PickleValue::Kind kind);  // "a tuple"

}  // namespace mose::io
