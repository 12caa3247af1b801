#include "io/pickle.h"

#include <algorithm>
#include <array>

#include "io/printable.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::io {
namespace {

using Kind = PickleValue::Kind;

// Limits far above any checkpoint's, which bound what a hostile file can make this program allocate.
constexpr size_t kLargestPickle = size_t{64} << 20;
constexpr size_t kMostValues = size_t{1} << 22;
constexpr size_t kLongestName = 256;

enum Function : int64_t { kOrderedDict, kRebuildTensor, kRebuildParameter };

struct Global {
  std::string_view module, name;
  Kind kind;
  int64_t number;
};

constexpr int64_t number(at::ScalarType type) { return static_cast<int64_t>(type); }

constexpr std::array kGlobals{
    Global{"collections", "OrderedDict", Kind::kFunction, kOrderedDict},
    Global{"torch._utils", "_rebuild_tensor_v2", Kind::kFunction, kRebuildTensor},
    Global{"torch._utils", "_rebuild_parameter", Kind::kFunction, kRebuildParameter},
    Global{"torch", "DoubleStorage", Kind::kStorageType, number(at::kDouble)},
    Global{"torch", "FloatStorage", Kind::kStorageType, number(at::kFloat)},
    Global{"torch", "HalfStorage", Kind::kStorageType, number(at::kHalf)},
    Global{"torch", "BFloat16Storage", Kind::kStorageType, number(at::kBFloat16)},
    Global{"torch", "LongStorage", Kind::kStorageType, number(at::kLong)},
    Global{"torch", "IntStorage", Kind::kStorageType, number(at::kInt)},
    Global{"torch", "ShortStorage", Kind::kStorageType, number(at::kShort)},
    Global{"torch", "CharStorage", Kind::kStorageType, number(at::kChar)},
    Global{"torch", "ByteStorage", Kind::kStorageType, number(at::kByte)},
    Global{"torch", "BoolStorage", Kind::kStorageType, number(at::kBool)},
};

}  // namespace

class PickleMachine {
 public:
  PickleMachine(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  size_t run(Pickle& out) {
    if (take(1) != "\x80") fail("expected a pickle of protocol 2 to 5");
    const auto protocol = little_endian(1);
    if (protocol < 2 || protocol > 5) fail("protocol ", protocol, ": expected 2 to 5");
    for (;;) {
      start_ = at_;
      const auto opcode = static_cast<unsigned char>(take(1)[0]);
      if (opcode == '.') break;
      step(opcode);
    }
    out.root_ = pop();
    out.values_ = std::move(values_);
    return at_;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw DataError(mose::str(where_, ": pickle, byte ", start_, ": ", parts...));
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) fail("it ends too early");
    if (at_ + size > kLargestPickle) fail("more than ", kLargestPickle, " bytes are no state dict");
    const std::string_view out = bytes_.substr(at_, size);
    at_ += size;
    return out;
  }

  std::string_view line() {
    const size_t size = bytes_.substr(at_, kLongestName).find('\n');
    if (size == std::string_view::npos) fail("a global whose name does not end");
    const std::string_view out = take(size);
    take(1);
    return out;
  }

  uint64_t little_endian(size_t size) {
    uint64_t out = 0;
    const std::string_view text = take(size);
    for (size_t i = size; i-- > 0;) out = out << 8 | static_cast<unsigned char>(text[i]);
    return out;
  }

  // --- the stack, on which marks stand between values ---

  size_t fence() const { return marks_.empty() ? 0 : marks_.back(); }

  void push(uint32_t id) {
    if (stack_.size() >= kMostValues) fail("more than ", kMostValues, " values are no state dict");
    stack_.push_back(id);
  }

  void push_value(PickleValue value) {
    if (values_.size() >= kMostValues) fail("more than ", kMostValues, " values are no state dict");
    values_.push_back(std::move(value));
    push(static_cast<uint32_t>(values_.size() - 1));
  }

  void push_mark() {
    if (marks_.size() >= kMostValues) fail("more than ", kMostValues, " marks are no state dict");
    marks_.push_back(stack_.size());
  }

  uint32_t top() const {
    if (stack_.size() <= fence()) fail("a value is missing on the stack");
    return stack_.back();
  }

  uint32_t pop() {
    const uint32_t id = top();
    stack_.pop_back();
    return id;
  }

  std::vector<uint32_t> pop_to_mark() {
    if (marks_.empty()) fail("a mark is missing on the stack");
    std::vector<uint32_t> out(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }

  std::vector<uint32_t> pop_many(size_t count) {
    std::vector<uint32_t> out(count);
    while (count > 0) out[--count] = pop();
    return out;
  }

  // --- opcodes ---

  void append(Kind kind, const std::vector<uint32_t>& items) {
    PickleValue& target = values_[top()];
    if (target.kind != kind) fail("expected ", kind_name(kind), " to add to, found ", kind_name(target.kind));
    if (kind == Kind::kDict && items.size() % 2 != 0) fail("a key without a value");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  // Every pickler numbers its slots from 0 on.
  void memoize(uint64_t slot) {
    if (slot > memo_.size() || slot >= kMostValues) fail("memo slot ", slot, " after ", memo_.size(), " others");
    if (slot == memo_.size()) memo_.push_back(0);
    memo_[slot] = top();
  }

  void recall(uint64_t slot) {
    if (slot >= memo_.size()) fail("memo slot ", slot, " is empty");
    push(memo_[slot]);
  }

  void long_integer(size_t size) {
    PickleValue value{Kind::kInteger};
    value.text = take(size);
    if (size <= sizeof value.number) {
      uint64_t bits = 0;  // two's complement, sign-extended
      for (size_t i = sizeof bits; i-- > 0;) {
        const bool negative = size > 0 && static_cast<signed char>(value.text[size - 1]) < 0;
        bits = bits << 8 | (i < size ? static_cast<unsigned char>(value.text[i]) : negative ? 0xffu : 0u);
      }
      value.number = static_cast<int64_t>(bits);
      value.text = {};
    }
    push_value(std::move(value));
  }

  void global(std::string_view module, std::string_view name) {
    const auto known = std::find_if(kGlobals.begin(), kGlobals.end(),
                                    [&](const Global& g) { return g.module == module && g.name == name; });
    if (known == kGlobals.end()) {
      fail("it asks for \"", printable(module), ".", printable(name), "\", which is refused, and nothing was run. Plain tensors by name are "
           "read; save model.state_dict() alone, or convert to safetensors where you trust the file");
    }
    push_value({known->kind, known->number});
  }

  void stack_global() {
    const PickleValue& name = values_[pop()];
    const PickleValue& module = values_[pop()];
    if (name.kind != Kind::kText || module.kind != Kind::kText) fail("a global whose name is no text");
    global(module.text, name.text);
  }

  void reduce() {
    const uint32_t arguments = pop();
    const PickleValue function = values_[pop()];
    if (function.kind != Kind::kFunction) fail("a call of ", kind_name(function.kind), ", which is refused");
    if (values_[arguments].kind != Kind::kTuple) fail("a call without a tuple of arguments");
    const std::vector<uint32_t>& items = values_[arguments].items;
    switch (function.number) {
      case kOrderedDict:
        if (!items.empty()) fail("OrderedDict with arguments, as Python 2 wrote it; save the file again with Python 3");
        return push_value({Kind::kDict});
      case kRebuildTensor:
        if (items.size() != 6 && items.size() != 7) fail("a tensor of ", items.size(), " arguments");
        return push_value({Kind::kTensor, 0, {}, items});
      default:
        if (items.empty() || values_[items[0]].kind != Kind::kTensor) fail("a parameter of no tensor");
        return push(items[0]);
    }
  }

  // An object's attributes: state_dict() keeps "_metadata" in them, on which no weight depends.
  void build() {
    pop();
    if (values_[top()].kind != Kind::kDict) fail("attributes of ", kind_name(values_[top()].kind), ", which are refused");
  }

  void persistent_id() {
    const PickleValue& id = values_[pop()];
    if (id.kind != Kind::kTuple) fail("a persistent id that is no tuple");
    if (id.items.size() != 5 && id.items.size() != 6) fail("a persistent id of ", id.items.size(), " parts");
    push_value({Kind::kStorage, 0, {}, id.items});
  }

  void step(unsigned char opcode) {
    switch (opcode) {
      case 0x95: {  // FRAME
        const uint64_t size = little_endian(8);
        if (size > bytes_.size() - at_) fail("a frame beyond the end");
        return;
      }
      case '(': return push_mark();
      case 'N': return push_value({Kind::kNone});
      case 0x88: return push_value({Kind::kBool, 1});
      case 0x89: return push_value({Kind::kBool, 0});
      case 'J': return push_value({Kind::kInteger, static_cast<int32_t>(little_endian(4))});
      case 'K': return push_value({Kind::kInteger, static_cast<int64_t>(little_endian(1))});
      case 'M': return push_value({Kind::kInteger, static_cast<int64_t>(little_endian(2))});
      case 0x8a: return long_integer(little_endian(1));  // LONG1
      case 'G': take(8); return push_value({Kind::kReal});  // no weight is one
      case 'X': return push_value({Kind::kText, 0, take(little_endian(4))});
      case 0x8c: return push_value({Kind::kText, 0, take(little_endian(1))});
      case '}': return push_value({Kind::kDict});
      case ']': return push_value({Kind::kList});
      case ')': return push_value({Kind::kTuple});
      case 't': return push_value({Kind::kTuple, 0, {}, pop_to_mark()});
      case 0x85: return push_value({Kind::kTuple, 0, {}, pop_many(1)});
      case 0x86: return push_value({Kind::kTuple, 0, {}, pop_many(2)});
      case 0x87: return push_value({Kind::kTuple, 0, {}, pop_many(3)});
      case 'a': return append(Kind::kList, pop_many(1));
      case 'e': return append(Kind::kList, pop_to_mark());
      case 's': return append(Kind::kDict, pop_many(2));
      case 'u': return append(Kind::kDict, pop_to_mark());
      case 'q': return memoize(little_endian(1));
      case 'r': return memoize(little_endian(4));
      case 0x94: return memoize(memo_.size());
      case 'h': return recall(little_endian(1));
      case 'j': return recall(little_endian(4));
      case 'c': {
        const std::string_view module = line();
        return global(module, line());
      }
      case 0x93: return stack_global();
      case 'R': return reduce();
      case 'b': return build();
      case 'Q': return persistent_id();
      default: fail("opcode ", static_cast<int>(opcode), ", which no state dict needs, is refused");
    }
  }

  std::string_view bytes_;
  const std::string& where_;
  size_t at_ = 0, start_ = 0;  // of the next byte; of the opcode at work
  std::vector<PickleValue> values_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::vector<uint32_t> memo_;
};

Pickle Pickle::read(std::string_view& bytes, const std::string& where) {
  Pickle out;
  bytes.remove_prefix(PickleMachine(bytes, where).run(out));
  return out;
}

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kNone: return "None";
    case Kind::kBool: return "a boolean";
    case Kind::kInteger: return "an integer";
    case Kind::kReal: return "a number";
    case Kind::kText: return "text";
    case Kind::kTuple: return "a tuple";
    case Kind::kList: return "a list";
    case Kind::kDict: return "a dictionary";
    case Kind::kStorageType: return "a storage type";
    case Kind::kFunction: return "a function";
    case Kind::kStorage: return "a storage";
    case Kind::kTensor: return "a tensor";
  }
  return "";
}

}  // namespace mose::io
