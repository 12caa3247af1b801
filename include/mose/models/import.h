// From checkpoints of other programs to a model directory of ours, tensor by tensor. Values are not changed.
// They stay in the mapped files until they are written: all as bfloat16 where every tensor has it, else as
// float32, which holds the values of float16 and of mixtures exactly.
//
// Whole models: LLaVA and LLaVA-NeXT as transformers writes them (names of its versions 4 and 5) and in their own
// layout, and MoE-LLaVA. Towers: CLIP, SigLIP. Decoders: Llama, Mistral, Qwen, Qwen2, StableLM, Phi; sparse: Mixtral,
// Qwen2-MoE, MoE-LLaVA's. What a tower holds behind the layer that its user takes is left out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/models/bundle.h"

namespace mose::models {

struct Imported {
  std::vector<io::StateDict> files;   // mapped; the weights are views of them
  Bundle bundle;                      // the model is on the meta device
  io::TensorMap weights;              // by our names
  std::vector<std::string> left_out;  // tensors of the files that no answer depends on
  torch::ScalarType type = torch::kFloat32;  // in which the weights are to be written
};

// `vision` is a CLIP or SigLIP checkpoint, needed by LLaVA's own layout (its config names a tower and holds
// none) and else empty. DataError names the file and the key or tensor that is missing, does not fit, or asks
// for something that this decoder or tower does not compute.
Imported import_model(const std::filesystem::path& dir, const std::filesystem::path& vision,
                      const std::string& chat_template, skills::Taxonomy taxonomy);

// A tower and a decoder as one new model. The projector is drawn from `seed`; the tower's states before its
// last block are taken (LLaVA's vision_feature_layer -2). A tokenizer without "<image>" gets it as a new token.
Imported join_checkpoints(const std::filesystem::path& vision, const std::filesystem::path& language,
                          const std::string& chat_template, skills::Taxonomy taxonomy, uint64_t seed);

// Sparse upcycling (upcycle.h) before anything is loaded: every expert is the dense FFN's tensor in the mapped
// file; the routers are drawn from `seed`.
void upcycle(Imported& imported, const moe::Config& moe, uint64_t seed);

}  // namespace mose::models
