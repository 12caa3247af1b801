#include "infer/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::infer {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHeader = "prediction";

StoredAnswer parse_answer(const Json& line, size_t items, const std::string& where) {
  StoredAnswer answer;
  const int64_t item = json_int(line, "item", where);
  if (item < 0 || item >= static_cast<int64_t>(items)) {
    throw DataError(str(where, ": \"item\": expected one of ", items, " questions, found ", item));
  }
  answer.item = static_cast<size_t>(item);
  for (const Json& token : json_array(line, "tokens", where)) {
    if (!token.is_number_integer()) throw DataError(str(where, ": \"tokens\": expected integers, found ", token.dump()));
    answer.tokens.push_back(token.get<int64_t>());
  }
  const Json& finished = json_at(line, "finished", where);
  if (!finished.is_boolean()) throw DataError(str(where, ": \"finished\": expected true or false, found ", finished.dump()));
  answer.finished = finished.get<bool>();
  answer.prompt_tokens = json_int(line, "prompt_tokens", where);
  answer.shared_tokens = json_int(line, "shared_tokens", where);
  answer.image_encodings = json_int(line, "image_encodings", where);
  answer.seconds = json_number(line, "seconds", where);
  return answer;
}

Json to_json(const StoredAnswer& a) {
  return {{"item", a.item}, {"tokens", a.tokens}, {"finished", a.finished}, {"prompt_tokens", a.prompt_tokens},
          {"shared_tokens", a.shared_tokens}, {"image_encodings", a.image_encodings}, {"seconds", a.seconds}};
}

// "sampling.seed (1 there, 2 now)" of every value in which the two differ.
void list_differences(const Json& there, const Json& now, const std::string& prefix, std::vector<std::string>& out) {
  for (const auto& [key, value] : now.items()) {
    const auto found = there.find(key);
    if (found == there.end()) out.push_back(str(prefix, key, " (not there)"));
    else if (value.is_object() && found->is_object()) list_differences(*found, value, str(prefix, key, "."), out);
    else if (*found != value) out.push_back(str(prefix, key, " (", found->dump(), " there, ", value.dump(), " now)"));
  }
}

}  // namespace

Journal::Journal(fs::path file, Json prediction, size_t items)
    : file_(std::move(file)), prediction_(std::move(prediction)), items_(items) {
  read();
}

Journal::~Journal() {
  try {
    close();
  } catch (const std::exception&) {  // another error is on its way
  }
}

void Journal::read() {
  std::error_code code;
  if (!fs::is_regular_file(file_, code)) return;
  const std::string content = read_file(file_);
  std::vector<bool> seen(items_);
  int64_t number = 0;
  for (size_t end; (end = content.find('\n', whole_bytes_)) != std::string::npos; whole_bytes_ = end + 1) {
    const std::string where = str(file_.string(), ":", ++number);
    const Json line = parse_json(std::string_view(content).substr(whole_bytes_, end - whole_bytes_), where);
    if (number == 1) {
      std::vector<std::string> differ;
      list_differences(json_object(line, kHeader, where), prediction_, "", differ);
      if (differ.empty()) continue;
      throw UsageError(str(file_.string(), ": holds answers of another prediction, which differs in ", join(differ, ", "),
                           "; remove it to begin anew, or choose another folder"));
    }
    StoredAnswer answer = parse_answer(line, items_, where);
    if (seen[answer.item]) throw DataError(str(where, ": a second answer to question ", answer.item));
    seen[answer.item] = true;
    stored_.push_back(std::move(answer));
  }
  torn_ = whole_bytes_ < content.size();
}

void Journal::open() {
  make_directories(file_.parent_path());
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0 || (torn_ && ::ftruncate(descriptor_, static_cast<off_t>(whole_bytes_)) != 0) || ::lseek(descriptor_, 0, SEEK_END) < 0) {
    throw Error(str(file_.string(), ": cannot open for writing: ", std::strerror(errno)));
  }
  if (whole_bytes_ == 0) waiting_ = Json{{kHeader, prediction_}}.dump() + "\n";
  thread_ = std::thread([this] { work(); });
}

void Journal::append(const StoredAnswer& answer) {
  const std::lock_guard lock(mutex_);
  rethrow();
  if (descriptor_ < 0) open();
  waiting_ += to_json(answer).dump() + "\n";
  changed_.notify_one();
}

void Journal::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::string lines = std::move(waiting_);
    waiting_.clear();
    lock.unlock();
    int failed = 0;
    for (size_t at = 0; at < lines.size() && failed == 0;) {
      const ssize_t n = ::write(descriptor_, lines.data() + at, lines.size() - at);
      if (n >= 0) at += static_cast<size_t>(n);
      else if (errno != EINTR) failed = errno;
    }
    if (failed == 0 && ::fdatasync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) failed = errno;
    lock.lock();
    if (failed == 0) continue;
    error_ = std::make_exception_ptr(Error(str(file_.string(), ": cannot write: ", std::strerror(failed))));
    return;
  }
}

void Journal::rethrow() {
  if (error_) std::rethrow_exception(error_);
}

void Journal::close() {
  if (descriptor_ < 0) return;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
  ::close(descriptor_);
  descriptor_ = -1;
  closing_ = false;
  rethrow();
}

void Journal::remove() {
  close();
  std::error_code code;
  fs::remove(file_, code);
  if (code) throw Error(str(file_.string(), ": cannot remove: ", code.message()));
}

}  // namespace mose::infer
