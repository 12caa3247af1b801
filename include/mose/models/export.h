// From a model directory of ours to one that transformers (and what reads its checkpoints) opens as LLaVA, or with
// pinpoints as LLaVA-NeXT: the same logits from the same weights.
//
//   dense decoders    as Llama, Qwen2, StableLM or Phi, by what they compute
//   sparse ones       as Qwen2-MoE: dense and sparse layers by mlp_only_layers, weights normalised by
//                     norm_topk_prob; its shared expert is written with zeros and adds nothing. The routers
//                     must be linear (topk, skill)
//
// The skill taxonomy and the chat template have no place there and are left out.
#pragma once

#include <filesystem>

#include "mose/models/vlm.h"

namespace mose::models {

// UsageError says what the format cannot hold: a tower of ours (vit), merged patches, a hierarchical router, a
// gate with capacity, FFNs of different widths. `to` is written beside and renamed.
void export_hugging_face(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace mose::models
