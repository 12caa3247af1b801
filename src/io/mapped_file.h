// A regular file's bytes in memory, read from disk as they are touched, and tensors over them.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mose::io {

// Private and writable: a tensor changed in place changes its own pages, never the file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }
  char* data() const { return data_; }
  std::string name() const { return path_.string(); }

 private:
  std::filesystem::path path_;
  char* data_ = nullptr;
  size_t size_ = 0;
};

// The tensor whose bytes start at `begin`: a view that keeps the file mapped, or a copy where the data is off
// its type's alignment. The caller has checked that the file holds it. DataError, which names `what`, for a
// boolean that is neither 0 nor 1.
torch::Tensor mapped_tensor(const std::shared_ptr<MappedFile>& file, uint64_t begin, const std::vector<int64_t>& shape,
                            at::ScalarType type, const std::string& what);

}  // namespace mose::io
