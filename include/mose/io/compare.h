// What differs between two files or directories of weights, tensor by tensor.
#pragma once

#include <string>
#include <vector>

#include "mose/io/safetensors.h"

namespace mose::io {

struct TensorDifference {
  std::string name;
  std::string kind;     // "only in A", "only in B", "shape", "type" or "values"
  std::string a{}, b{};  // shapes or types, where these differ
  int64_t changed = 0;  // elements, of kind "values"
  int64_t elements = 0;
  double largest = 0;   // absolute difference, in float64; infinite where only one side is not finite
};

// In the order of names; tensors of equal values are not listed. NaN equals NaN here.
std::vector<TensorDifference> compare_weights(const StateDict& a, const StateDict& b);

}  // namespace mose::io
