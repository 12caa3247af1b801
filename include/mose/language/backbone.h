// Decoder backbones: hidden states out, logits on demand.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mose/core/config.h"
#include "mose/moe/layer.h"
#include "mose/nn/attention.h"
#include "mose/nn/rotary.h"
#include "mose/nn/sequence_plan.h"

namespace mose::language {

struct Config {
  std::string type = "llama";  // see llama.h
  int64_t vocab_size = 2048;
  int64_t hidden_size = 192;
  int64_t intermediate_size = 512;
  int64_t layers = 6;
  int64_t heads = 6;
  int64_t kv_heads = 3;
  int64_t head_dim = 0;  // 0 = hidden_size / heads
  double rope_theta = 10000;
  double rotary_fraction = 1;  // of a head's width that turns
  std::optional<nn::RopeScaling> rope_scaling;
  std::string norm = "rms";    // or "layer"
  double norm_eps = 1e-5;
  std::string ffn = "swiglu";  // or "gelu": fc2(gelu_tanh(fc1(x))) with biases
  bool parallel = false;       // attention and FFN read one norm and are added together
  bool qkv_bias = false, out_bias = false, ffn_bias = false, head_bias = false;
  bool tie_embeddings = true;
  int64_t max_positions = 2048;
  int64_t sliding_window = 0;          // rows a row sees back to in sliding_layers, itself included; 0 = all
  std::vector<int64_t> sliding_layers;
  int64_t ffn_copies = 1;           // dense FFNs of `wide_layers` are this many times as wide:
  std::vector<int64_t> wide_layers;  // the dense twin of a sparse model (models/upcycle.h)
  std::optional<moe::Config> moe;

  int64_t head_width() const { return head_dim > 0 ? head_dim : hidden_size / heads; }
  int64_t rotary_width() const;  // the turning part of a head
  void visit(FieldVisitor& v);
};

struct LayerRouting {
  int64_t layer = 0;
  moe::Routing routing;
};

struct LayerOutputs {
  torch::Tensor hidden_TD;               // after the last norm; of the rows asked for alone where some were
  std::vector<LayerRouting> routings;    // one a sparse layer, with gradient
};

struct ForwardOptions {
  nn::KvCache* cache = nullptr;
  // The rows, int64 [R], whose hidden states are asked for; undefined for all. The last layer then computes what follows its
  // attention for these alone; a sparse one computes its router for every row.
  torch::Tensor rows_R;
  // Keep the layers' inputs only and run every layer again in the backward pass (nn/recompute.h).
  bool recompute = false;
  const moe::RouteControl* control = nullptr;  // of every sparse layer
  // Sees the hidden states that enter every layer.
  std::function<void(int64_t layer, const torch::Tensor& x_TD)> on_layer_input;
  // Sees the input of every layer's FFN (what a router of that layer gets).
  std::function<void(int64_t layer, const torch::Tensor& x_TD)> on_ffn_input;
};

class LanguageBackbone : public torch::nn::Module {
 public:
  virtual torch::Tensor embed(const torch::Tensor& tokens_T) = 0;
  virtual LayerOutputs forward(const torch::Tensor& embeddings_TD, const nn::SequencePlan& plan,
                               const ForwardOptions& options = {}) = 0;
  virtual const torch::Tensor& embedding_weight() const = 0;  // [V, D]
  // The sparse layers by decoder layer; empty for a dense decoder.
  virtual std::vector<std::pair<int64_t, std::shared_ptr<moe::MoeLayer>>> moe_layers() const = 0;
};

// Explicit registration: UsageError names the known types.
std::shared_ptr<LanguageBackbone> make_backbone(const Config& config, const moe::SkillMap* skills);

// A cache of `places` for sequences of at most `capacity` positions.
nn::KvCache make_cache(const Config& config, int64_t places, int64_t capacity,
                       torch::TensorOptions options);

}  // namespace mose::language
