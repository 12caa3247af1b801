// CPU shape r: a sparse decoder in the proportions of a 3 B-parameter one, at a size that two cores run in
// seconds. Width 512, FFN and experts 1408 wide, 8 layers, of which every second has 4 experts (2 a token), 8
// heads with 4 of keys and values, vocabulary 32,000, tied embeddings: 66 M parameters. Text only.
#pragma once

#include <memory>
#include <string>

#include "mose/core/json.h"
#include "mose/models/vlm.h"

namespace mose::bench {

inline constexpr int64_t kWidth = 512, kIntermediate = 1408, kExperts = 4, kTopK = 2;

struct ShapeR {
  std::shared_ptr<models::VisionLanguageModel> model;  // its tower is tiny and unused
  std::vector<std::pair<std::string, torch::Tensor>> parameters;  // the decoder's, named as transformers does
  std::string about() const;
};
// The same weights each time, rounded to `type`. With fewer layers every second one is still sparse. With `dense` > 0
// those layers have a dense FFN `dense` times as wide in place of experts.
ShapeR make_shape_r(torch::Dtype type = torch::kFloat32, int64_t layers = 8, int64_t dense = 0);
// The same sizes with the sparse layers behind the dense ones, an order that llama.cpp has too.
ShapeR make_shape_r_sparse_last(torch::Dtype type);
std::string type_name(torch::Dtype type);  // "float32" or "bfloat16"

// The part of a parameter that one token meets: all of it, of experts the chosen ones.
double share_a_token(const std::string& parameter);

// The decoder's weights for the peers, in a file of the folder; and the arguments of a peer's `build`, which reads them.
void write_weights(const ShapeR& shape, const std::filesystem::path& folder);
Json peer_model(const ShapeR& shape, const std::filesystem::path& folder, const std::string& experts, int64_t threads);
Json llama_cpp_model(const ShapeR& shape, const std::filesystem::path& folder, int64_t threads);

}  // namespace mose::bench
