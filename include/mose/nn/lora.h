// Low-rank adapters (LoRA; Hu et al., 2021): beside a frozen weight W, a layer learns A and B of rank r and computes
//
//   y = W x + (alpha / r) B A dropout(x)
//
// A is drawn from U(-1/sqrt(in), 1/sqrt(in)), B starts at zero, so a new adapter changes nothing. The stacked weights of
// experts [E, out, in] get an A and a B an expert, applied to the rows of that expert; no merged weight is formed
// until merge_lora. Adapters are no part of a module's parameters: what saves, counts or freezes those does not see them.
#pragma once

#include <torch/torch.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mose/core/config.h"

namespace mose::nn {

struct LoraConfig {
  int64_t rank = 16;
  double alpha = 32;
  double dropout = 0;            // of what enters the adapter (set_dropout)
  bool rank_stabilised = false;  // alpha / sqrt(r) in place of alpha / r (Kalajdzievski, 2023)
  // The decoder's layers, attention, FFNs and experts; not the one row that scales a shared expert.
  std::vector<std::string> targets = {"model.language_model.*", "!*.shared_expert_gate"};

  double scale() const;
  void visit(FieldVisitor& v);
};

// The adapter of one weight. float32 beside weights of a narrower type; products are in the type of x.
struct Lora {
  torch::Tensor A, B;  // [r, in], [out, r]; of stacked weights [E, r, in], [E, out, r]
  double scale = 1;
  double dropout = 0;  // of now

  torch::Tensor add(const torch::Tensor& y, const torch::Tensor& x) const;  // y + scale B A dropout(x), by rows
  std::vector<Lora> by_expert() const;                                      // of stacked weights
};

// A weight [out, in] or [E, out, in] that can have an adapter, named as its parameter without ".weight".
struct LoraPlace {
  std::string name;
  torch::Tensor weight;
  std::shared_ptr<Lora>* adapter;
};

// A module with such weights.
class TakesLora {
 public:
  virtual ~TakesLora() = default;
  virtual std::vector<LoraPlace> lora_places() = 0;
};

// Of `module` and all within it.
std::vector<LoraPlace> lora_places(torch::nn::Module& module);
// Those that the patterns choose (core/patterns.h). UsageError names a pattern that matches none.
std::vector<LoraPlace> lora_places(torch::nn::Module& module, const std::vector<std::string>& targets);
// Whether a parameter of `module` or an adapter on it gets a gradient.
bool learns(torch::nn::Module& module);
// Parameters of an adapter of this rank.
int64_t lora_parameters(const LoraPlace& place, int64_t rank);

// New adapters on the layers that the config targets, drawn from `seed`; on the device of the weights. An earlier
// adapter is replaced.
using Adapters = std::map<std::string, std::shared_ptr<Lora>>;  // by the place's name
Adapters attach_lora(torch::nn::Module& module, const LoraConfig& config, uint64_t seed);
// Given ones, on the layers they are named by; the other layers have none.
void attach_lora(torch::nn::Module& module, const Adapters& adapters);
// From now on every adapter drops this share of its input; new ones drop nothing. A trainer turns it on for its steps.
void set_dropout(const Adapters& adapters, double share);

// Adds every adapter to its weight, scale B A rounded once, and takes the adapters away.
void merge_lora(torch::nn::Module& module);

}  // namespace mose::nn
