#include "io/safetensors_header.h"
#include "io/weight_files.h"
#include "mose/core/strings.h"

namespace mose::io {

WeightFile read_safetensors(const std::shared_ptr<MappedFile>& file) {
  Header header = parse_header(file->bytes(), file->name());
  WeightFile out{{}, std::move(header.metadata)};
  for (const TensorEntry& entry : header.tensors) {
    out.tensors[entry.name] = mapped_tensor(file, header.data_begin + entry.begin, entry.shape, entry.type,
                                            mose::str("tensor \"", entry.name, "\""));
  }
  return out;
}

}  // namespace mose::io
