// Adapters as files, in the layout of Hugging Face's PEFT: DIR/adapter_config.json and adapter_model.safetensors.
//
//   base_model.model.<layer>.lora_A.weight [r, in], lora_B.weight [out, r]
//   of E stacked experts                   [E r, in] by expert, [out, r E] by rank; the parameters of one module wrap
//                                          each other: <experts>.lora_* is down_proj, <experts>.base_layer.lora_* gate_up_proj
//
// PEFT opens them on the base model as `mose-model export` writes it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/models/vlm.h"
#include "mose/nn/lora.h"

namespace mose::models {

// `base` is the model directory that the adapters belong to. An earlier folder of adapters is replaced.
void save_adapter(const std::filesystem::path& dir, const VisionLanguageModel& model, const nn::Adapters& adapters,
                  const nn::LoraConfig& config, const std::filesystem::path& base);

// The adapters of a folder by the model's own names, not attached. Layers of a decoder alone (model.layers.*) are found
// in this model's decoder. DataError names the file, and the key of config or weights that is missing, fits no layer, or
// asks for what is no plain LoRA (DoRA, biases, modules saved whole).
nn::Adapters read_adapter(const std::filesystem::path& dir, VisionLanguageModel& model);

// What training with adapters takes, from the config alone. Where something trains, there are a gradient and two moments
// beside the float32 weight; the frozen weights are in float32 or bfloat16.
struct AdapterAccount {
  int64_t layers = 0, adapters = 0;  // layers with an adapter; parameters of all adapters
  int64_t beside = 0, frozen = 0;    // the model's own parameters: trained beside them; the rest

  int64_t trained() const { return adapters + beside; }
  double training_bytes(double frozen_bytes) const {
    return 16.0 * static_cast<double>(trained()) + frozen_bytes * static_cast<double>(frozen);
  }
};
// `trainable` are the patterns of what trains beside the adapters.
AdapterAccount account_adapters(const Config& config, const skills::Taxonomy& taxonomy, const nn::LoraConfig& lora,
                                const std::vector<std::string>& trainable);

}  // namespace mose::models
