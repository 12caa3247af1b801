// The formats that weights come in: one reader each, all from a mapped file to views of it.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "io/mapped_file.h"
#include "mose/io/safetensors.h"

namespace mose::io {

struct WeightFile {
  TensorMap tensors;
  std::map<std::string, std::string> metadata{};
};

// DataError names the file and what is wrong with it.
WeightFile read_safetensors(const std::shared_ptr<MappedFile>& file);

// A state dict as torch.save writes it: zip archives (torch 1.6 and later) and the form before those. Tensors
// of one storage share its memory. The pickle inside is read without running anything (io/pickle.h).
WeightFile read_torch(const std::shared_ptr<MappedFile>& file);
bool is_torch(std::string_view bytes);

}  // namespace mose::io
