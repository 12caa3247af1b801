#include "io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"

namespace mose::io {
namespace {

struct TypeName {
  const char* name;
  at::ScalarType type;
};

constexpr std::array kTypes{
    TypeName{"F64", at::kDouble},  TypeName{"F32", at::kFloat},   TypeName{"F16", at::kHalf},
    TypeName{"BF16", at::kBFloat16}, TypeName{"I64", at::kLong},  TypeName{"I32", at::kInt},
    TypeName{"I16", at::kShort},   TypeName{"I8", at::kChar},     TypeName{"U64", at::kUInt64},
    TypeName{"U32", at::kUInt32},  TypeName{"U16", at::kUInt16},  TypeName{"U8", at::kByte},
    TypeName{"BOOL", at::kBool},   TypeName{"F8_E4M3", at::kFloat8_e4m3fn},
    TypeName{"F8_E5M2", at::kFloat8_e5m2}, TypeName{"F8_E8M0", at::kFloat8_e8m0fnu},
};

std::string shown(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80);
}

// JSON in which a tensor named twice is an error and not one of the two.
Json parse_unique(std::string_view text, const std::string& where) {
  std::set<std::string> seen;
  std::string twice;
  auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1 && parsed.is_string() &&
        !seen.insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return true;
  };
  Json json;
  try {
    json = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& e) {
    throw DataError(mose::str(where, ": the safetensors header is not JSON: ", e.what()));
  }
  if (!twice.empty()) throw DataError(mose::str(where, ": the header names \"", twice, "\" twice"));
  if (!json.is_object()) throw DataError(mose::str(where, ": the safetensors header is no JSON object"));
  return json;
}

uint64_t unsigned_at(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned()) {
    throw DataError(mose::str(what, ": expected an integer, at least 0, found ", shown(value)));
  }
  return value.get<uint64_t>();
}

TensorEntry parse_entry(const std::string& name, const Json& json, const std::string& where) {
  const std::string what = mose::str(where, ": tensor \"", name, "\"");
  if (!json.is_object()) throw DataError(mose::str(what, ": expected an object, found ", shown(json)));
  for (const auto& [key, value] : json.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      throw DataError(mose::str(what, ": unknown key \"", key, "\""));
    }
  }
  TensorEntry entry;
  entry.name = name;
  const std::string type = json_string(json, "dtype", what);
  const auto known = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return type == t.name; });
  if (known == kTypes.end()) throw DataError(mose::str(what, ": unknown type \"", type, "\""));
  entry.type = known->type;
  for (const Json& size : json_array(json, "shape", what)) {
    const uint64_t n = unsigned_at(size, what + ": shape");
    if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      throw DataError(mose::str(what, ": shape ", shown(json["shape"]), " is too large"));
    }
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  const Json& offsets = json_array(json, "data_offsets", what);
  if (offsets.size() != 2) {
    throw DataError(mose::str(what, ": data_offsets: expected [begin, end], found ", shown(offsets)));
  }
  entry.begin = unsigned_at(offsets[0], what + ": data_offsets");
  entry.end = unsigned_at(offsets[1], what + ": data_offsets");
  uint64_t bytes = 0;
  if (!tensor_bytes(entry.type, entry.shape, bytes)) {
    throw DataError(mose::str(what, ": shape ", shown(json["shape"]), " is too large"));
  }
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    throw DataError(mose::str(what, ": data_offsets ", shown(offsets), ": expected ", bytes, " bytes for ", type, " ",
                              shown(json["shape"])));
  }
  return entry;
}

}  // namespace

const char* type_name(at::ScalarType type, const std::string& tensor) {
  for (const TypeName& t : kTypes) {
    if (t.type == type) return t.name;
  }
  throw Error(mose::str("safetensors: tensor \"", tensor, "\" has type ", type, ", which the format lacks"));
}

bool tensor_bytes(at::ScalarType type, const std::vector<int64_t>& shape, uint64_t& bytes) {
  // `extent` takes empty dimensions as one, because strides are computed so.
  int64_t count = 1, extent = static_cast<int64_t>(c10::elementSize(type));
  for (const int64_t n : shape) {
    if (n < 0 || __builtin_mul_overflow(extent, std::max<int64_t>(n, 1), &extent)) return false;
    count *= n;
  }
  bytes = static_cast<uint64_t>(count) * c10::elementSize(type);
  return true;
}

Header parse_header(std::string_view file, const std::string& where) {
  if (file.size() < kHeaderLengthBytes) {
    throw DataError(mose::str(where, ": ", file.size(), " bytes are too few for a safetensors file"));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kHeaderLengthBytes; ++i) {
    length |= static_cast<uint64_t>(static_cast<unsigned char>(file[i])) << (8 * i);
  }
  const uint64_t rest = file.size() - kHeaderLengthBytes;
  if (length > kLargestHeader || length > rest) {
    throw DataError(mose::str(where, ": a header of ", length, " bytes does not fit: ", rest,
                              " bytes follow; the file is truncated or no safetensors file"));
  }
  const Json json = parse_unique(file.substr(kHeaderLengthBytes, length), where);
  Header header;
  header.data_begin = kHeaderLengthBytes + length;
  const uint64_t data_size = rest - length;
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      header.tensors.push_back(parse_entry(name, value, where));
      continue;
    }
    if (!value.is_object()) throw DataError(mose::str(where, ": __metadata__: expected an object"));
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        throw DataError(mose::str(where, ": __metadata__.", key, ": expected text, found ", shown(text)));
      }
      header.metadata[key] = text.get<std::string>();
    }
  }
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t at = 0;
  for (const TensorEntry& t : header.tensors) {
    if (t.begin != at) {
      throw DataError(mose::str(where, ": tensor \"", t.name, "\" starts at byte ", t.begin, " of the data: expected ",
                                at, t.begin < at ? ", where the tensor before it ends" : ", so that no bytes are left out"));
    }
    if (t.end > data_size) {
      throw DataError(mose::str(where, ": tensor \"", t.name, "\" ends at byte ", t.end, " of the data, but the file has ",
                                data_size, "; it is truncated"));
    }
    at = t.end;
  }
  if (at != data_size) {
    throw DataError(mose::str(where, ": the tensors take ", at, " bytes, but the file has ", data_size, " bytes of data"));
  }
  return header;
}

std::string build_header(const std::vector<TensorEntry>& tensors, const std::map<std::string, std::string>& metadata) {
  Json json = Json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  for (const TensorEntry& t : tensors) {
    json[t.name] = {{"dtype", type_name(t.type, t.name)}, {"shape", t.shape}, {"data_offsets", {t.begin, t.end}}};
  }
  std::string text;
  try {
    text = json.dump();
  } catch (const Json::exception& e) {
    throw Error(mose::str("safetensors: a name or metadata is not UTF-8: ", e.what()));
  }
  constexpr size_t kAlign = 64;
  text.append((kAlign - (kHeaderLengthBytes + text.size()) % kAlign) % kAlign, ' ');
  if (text.size() > kLargestHeader) {
    throw Error(mose::str("safetensors: a header of ", text.size(), " bytes is more than the format allows (", kLargestHeader, ")"));
  }
  std::string out;
  for (size_t i = 0; i < kHeaderLengthBytes; ++i) out += static_cast<char>((text.size() >> (8 * i)) & 0xff);
  return out + text;
}

}  // namespace mose::io
