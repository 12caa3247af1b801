// The header of a safetensors file: eight bytes of length (little-endian), then JSON
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}, then data.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mose::io {

inline constexpr uint64_t kHeaderLengthBytes = 8;
// As the format's reference implementation; no real header comes near it.
inline constexpr uint64_t kLargestHeader = 100'000'000;

struct TensorEntry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes from the start of the data
};

struct Header {
  std::vector<TensorEntry> tensors;  // in order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // of the data, from the start of the file
};

// "F32" and so on; Error names the tensor when the format has no such type.
const char* type_name(at::ScalarType type, const std::string& tensor);

// Bytes of a tensor; false when the shape is negative or the count overflows.
bool tensor_bytes(at::ScalarType type, const std::vector<int64_t>& shape, uint64_t& bytes);

// Checks everything that can be checked without reading data. `file` is the whole file's bytes;
// `where` (its path) is named in DataErrors.
Header parse_header(std::string_view file, const std::string& where);

// Length and JSON, padded with spaces so that the data starts at a multiple of 64 bytes.
std::string build_header(const std::vector<TensorEntry>& tensors,
                         const std::map<std::string, std::string>& metadata);

}  // namespace mose::io
