#include "mose/core/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::error_code code;
  if (!fs::exists(path, code)) throw DataError(str(path.string(), ": no such file"));
  if (!fs::is_regular_file(path, code)) throw DataError(str(path.string(), ": not a regular file"));
  std::ifstream in(path, std::ios::binary);
  if (!in) throw DataError(str(path.string(), ": cannot open: ", std::strerror(errno)));
  std::string content(static_cast<size_t>(fs::file_size(path)), '\0');
  in.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (in.gcount() != static_cast<std::streamsize>(content.size())) {
    throw DataError(str(path.string(), ": read ", in.gcount(), " of ", content.size(), " bytes"));
  }
  return content;
}

void for_each_line(const fs::path& path,
                   const std::function<void(const std::string&, int64_t)>& line) {
  if (!fs::is_regular_file(path)) throw DataError(str(path.string(), ": no such file"));
  std::ifstream in(path);
  if (!in) throw DataError(str(path.string(), ": cannot open: ", std::strerror(errno)));
  std::string text;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    if (!text.empty() && text.back() == '\r') text.pop_back();
    if (!text.empty()) line(text, number);
  }
  if (in.bad()) throw DataError(str(path.string(), ": read error: ", std::strerror(errno)));
}

void make_directories(const fs::path& path) {
  if (path.empty()) return;
  std::error_code code;
  fs::create_directories(path, code);
  if (code) throw Error(str(path.string(), ": cannot create directory: ", code.message()));
}

void write_folder(const fs::path& dir, const std::function<void()>& fill) {
  fs::remove_all(dir);
  make_directories(dir);
  try {
    fill();
  } catch (...) {
    std::error_code ignored;  // the error of `fill` is the one to tell
    fs::remove_all(dir, ignored);
    throw;
  }
}

fs::path folder_path(const fs::path& dir) {
  const fs::path path = fs::absolute(dir).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

void replace_folder(const fs::path& dir, const std::function<void(const fs::path&)>& fill) {
  make_directories(dir.parent_path());
  fs::path beside = dir, old = dir;
  beside += str(".tmp.", ::getpid());
  old += str(".old.", ::getpid());
  write_folder(beside, [&] { fill(beside); });
  // rename() cannot replace a directory with content: the old one steps aside first.
  std::error_code code;
  if (fs::exists(dir)) fs::rename(dir, old, code);
  if (!code) fs::rename(beside, dir, code);
  if (code) throw Error(str(dir.string(), ": cannot rename into place: ", code.message()));
  fs::remove_all(old, code);
}

namespace {

// Devices and pipes (/dev/null, /dev/stdout, a fifo) are written in place: renaming a file over one
// would replace it for the whole machine.
bool is_device(const fs::path& path) {
  const std::string name = path.lexically_normal().string();
  if (name.starts_with("/dev/") && !name.starts_with("/dev/shm/")) return true;
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  static std::atomic<int> counter{0};
  if (is_device(path_)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    temporary_ = path_;
    temporary_ += str(".tmp.", ::getpid(), ".", counter++);
    if (path_.has_parent_path()) make_directories(path_.parent_path());
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  }
  if (descriptor_ < 0) {
    throw Error(str(path_.string(), ": cannot open for writing: ", std::strerror(errno)));
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    // Linux writes at most 2 GiB a call.
    const ssize_t n = ::write(descriptor_, at, std::min<size_t>(size, 1u << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      throw Error(str(path_.string(), ": cannot write: ", std::strerror(errno)));
    }
    at += n;
    size -= static_cast<size_t>(n);
  }
}

void AtomicFile::commit() {
  // Devices such as /dev/full accept no fsync; an I/O error or a full disk is an error.
  if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) {
    throw Error(str(path_.string(), ": cannot flush to disk: ", std::strerror(errno)));
  }
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) throw Error(str(path_.string(), ": cannot close: ", std::strerror(errno)));
  if (temporary_.empty()) return;
  std::error_code code;
  fs::rename(temporary_, path_, code);
  if (code) throw Error(str(path_.string(), ": cannot rename into place: ", code.message()));
  temporary_.clear();
}

void write_file(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) != 1) {
    throw Error("SHA-256 is not available in this OpenSSL");
  }
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Sha256::update(const void* data, size_t size) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, size);
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest, &size);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += "0123456789abcdef"[digest[i] >> 4];
    out += "0123456789abcdef"[digest[i] & 15];
  }
  return out;
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

}  // namespace mose
