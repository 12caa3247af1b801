#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::io {

MappedFile::MappedFile(const std::filesystem::path& file) : path_(file) {
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) throw DataError(mose::str(name(), ": cannot open: ", std::strerror(errno)));
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  size_ = regular ? static_cast<size_t>(status.st_size) : 0;
  void* data = nullptr;
  if (size_ > 0) data = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
  const int error = errno;
  ::close(descriptor);
  if (!regular) throw DataError(mose::str(name(), ": not a regular file"));
  if (data == MAP_FAILED) throw DataError(mose::str(name(), ": cannot map: ", std::strerror(error)));
  data_ = static_cast<char*>(data);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

torch::Tensor mapped_tensor(const std::shared_ptr<MappedFile>& file, uint64_t begin, const std::vector<int64_t>& shape,
                            at::ScalarType type, const std::string& what) {
  const auto elements = static_cast<uint64_t>(c10::multiply_integers(shape));
  if (elements == 0) return torch::empty(shape, type);
  char* data = file->data() + begin;
  if (type == torch::kBool) {
    const char* bad = std::find_if(data, data + elements, [](char c) { return c != 0 && c != 1; });
    if (bad != data + elements) {
      throw DataError(mose::str(file->name(), ": ", what, ": element ", bad - data, " is no BOOL but ",
                                static_cast<int>(static_cast<unsigned char>(*bad))));
    }
  }
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) != 0) {
    torch::Tensor copy = torch::empty(shape, type);
    std::memcpy(copy.mutable_data_ptr(), data, copy.nbytes());
    return copy;
  }
  return torch::from_blob(data, shape, [file](void*) {}, type);
}

}  // namespace mose::io
