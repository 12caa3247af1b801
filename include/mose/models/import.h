// From a Hugging Face checkpoint to a model directory of ours, tensor by tensor. Values are not changed.
// float32 and bfloat16 weights stay in the mapped file until they are written; a checkpoint of other or
// mixed types becomes float32, in memory.
//
// Read: LLaVA as transformers writes it (model_type "llava") with a CLIP or SigLIP tower and a Llama or
// Qwen2 decoder, with the tensor names of transformers 4 and 5. What a tower holds behind the layer that
// vision_feature_layer chooses is left out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/models/bundle.h"

namespace mose::models {

struct Imported {
  io::StateDict file;                 // mapped; the weights are views of it
  Bundle bundle;                      // the model is on the meta device
  io::TensorMap weights;              // by our names, all of one type
  std::vector<std::string> left_out;  // tensors of the file that no answer depends on
};

// DataError names the file and the key or tensor that is missing, does not fit, or asks for something that
// this decoder or tower does not compute.
Imported import_hugging_face(const std::filesystem::path& dir, const std::string& chat_template,
                             skills::Taxonomy taxonomy);

}  // namespace mose::models
