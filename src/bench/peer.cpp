#include "mose/bench/peer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "mose/core/signals.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kServe = "../scripts/bench/peers/serve.py";  // beside configs/, in the source tree and installed

// The environment with these variables set anew.
std::vector<std::string> environment(int64_t threads) {
  const std::string count = std::to_string(threads);
  std::vector<std::string> set = {"OMP_NUM_THREADS=" + count, "MKL_NUM_THREADS=" + count, "OPENBLAS_NUM_THREADS=" + count,
                                  "RAYON_NUM_THREADS=" + count, "TOKENIZERS_PARALLELISM=false", "HF_HUB_OFFLINE=1",
                                  "TRANSFORMERS_VERBOSITY=error", "PYTHONUNBUFFERED=1"};
  const size_t own = set.size();
  for (char** variable = environ; *variable; ++variable) {
    const std::string text = *variable;
    bool taken = false;
    for (size_t i = 0; i < own; ++i) taken |= text.substr(0, text.find('=') + 1) == set[i].substr(0, set[i].find('=') + 1);
    if (!taken) set.push_back(text);
  }
  return set;
}

std::string last_line_of(const fs::path& log) {
  std::error_code code;
  if (!fs::exists(log, code)) return "";
  const auto lines = split(trim(read_file(log)), '\n');
  return lines.empty() ? "" : lines.back();
}

}  // namespace

std::string default_python() {
  const fs::path own = resource(kServe).lexically_normal().parent_path() / "../../../.venv/bin/python3";
  std::error_code code;
  return fs::exists(own, code) ? own.lexically_normal().string() : "python3";
}

Peer::Peer(const std::string& python, const std::string& module, int64_t threads) : module_(module) {
  std::string name = (fs::temp_directory_path() / "mose_peer_XXXXXX").string();
  const int log = mkstemp(name.data());
  if (log < 0) throw Error(str("peer ", module, ": cannot write ", name, ": ", std::strerror(errno)));
  log_ = name;
  int in[2], out[2];
  // A socket, since writing into it for a peer that has ended can be an error alone and no signal.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0 || pipe2(out, O_CLOEXEC) != 0) throw Error(str("peer ", module, ": no pipe: ", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, log, 2);
  std::vector<std::string> words = {python, resource(kServe).lexically_normal().string(), module}, variables = environment(threads);
  std::vector<char*> arguments, environment_block;
  for (auto& word : words) arguments.push_back(word.data());
  for (auto& variable : variables) environment_block.push_back(variable.data());
  arguments.push_back(nullptr);
  environment_block.push_back(nullptr);
  const int error = posix_spawnp(&process_, python.c_str(), &actions, nullptr, arguments.data(), environment_block.data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(log);
  ::close(in[0]);
  ::close(out[1]);
  to_ = in[1];
  from_ = out[0];
  if (error != 0) {
    process_ = -1;
    ::close(to_);
    ::close(from_);
    fs::remove(log_);
    throw Error(str("peer ", module, ": cannot start ", python, ": ", std::strerror(error), " (--python names another)"));
  }
}

Peer::~Peer() {
  ::close(to_);  // the end of its input ends it
  ::close(from_);
  if (process_ > 0) {
    kill(process_, SIGTERM);
    waitpid(process_, nullptr, 0);
  }
  std::error_code code;
  fs::remove(log_, code);
}

void Peer::fail(const std::string& what) { throw Error(str("peer ", module_, ": ", what)); }

std::string Peer::read_line() {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd ready{from_, POLLIN, 0};
    const int found = poll(&ready, 1, 200);
    throw_if_stopped();
    if (found <= 0) continue;
    char part[1 << 16];
    const ssize_t count = ::read(from_, part, sizeof part);
    if (count <= 0) fail(str("the process ended: ", last_line_of(log_)));
    buffer_.append(part, static_cast<size_t>(count));
  }
}

Json Peer::call(const std::string& function, Json arguments) {
  arguments["do"] = function;
  const std::string line = arguments.dump() + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t count = ::send(to_, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(str("the process ended: ", last_line_of(log_)));
    done += static_cast<size_t>(count);
  }
  const Json answer = parse_json(read_line(), "peer " + module_);
  if (answer.contains("error")) fail(answer.at("error").get<std::string>());
  return answer;
}

double Peer::seconds(const std::string& function, Json arguments) {
  return json_number(call(function, std::move(arguments)), "seconds", "peer " + module_);
}

}  // namespace mose::bench
