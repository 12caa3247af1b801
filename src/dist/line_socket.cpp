#include "dist/line_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

constexpr size_t kLongestLine = 1 << 20;  // more without an end is none of ours

void make_ready(int descriptor) {
  fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Addresses resolve(const std::string& host, int64_t port, int type) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = type;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) throw Error(str("cannot find the host ", host, ": ", gai_strerror(error)));
  return {found, freeaddrinfo};
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Descriptor::~Descriptor() {
  if (value_ >= 0) close(value_);
}

LineSocket::LineSocket(Descriptor descriptor) : descriptor_(std::move(descriptor)) { make_ready(descriptor_.get()); }

bool LineSocket::read(std::vector<std::string>& lines) {
  char buffer[4096];
  bool open = true;
  while (true) {
    const ssize_t n = recv(descriptor_.get(), buffer, sizeof buffer, 0);
    if (n > 0) {
      in_.append(buffer, static_cast<size_t>(n));
      open = in_.size() < kLongestLine;
      if (open) continue;
    } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
      open = false;
    } else if (errno == EINTR) {
      continue;
    }
    break;
  }
  size_t begin = 0;
  for (size_t end; (end = in_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(in_.substr(begin, end - begin));
  }
  in_.erase(0, begin);
  return open;
}

bool LineSocket::write(const std::string& line) {
  out_ += line;
  out_ += '\n';
  return flush();
}

bool LineSocket::flush() {
  while (!out_.empty()) {
    const ssize_t n = send(descriptor_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    out_.erase(0, static_cast<size_t>(n));
  }
  return true;
}

Descriptor listen_anywhere(int64_t& port) {
  for (const int family : {AF_INET6, AF_INET}) {
    Descriptor descriptor(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    address.ss_family = static_cast<sa_family_t>(family);
    socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    const int off = 0;  // IPv4 comes in through the IPv6 socket too
    if (descriptor.get() < 0) continue;
    if (family == AF_INET6) setsockopt(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(descriptor.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(descriptor.get(), 1024) != 0) continue;
    getsockname(descriptor.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                    : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    fcntl(descriptor.get(), F_SETFL, fcntl(descriptor.get(), F_GETFL) | O_NONBLOCK);
    return descriptor;
  }
  throw Error(str("cannot listen for the other processes: ", std::strerror(errno)));
}

Descriptor accept_one(const Descriptor& listening) {
  return Descriptor(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

Descriptor connect_to(const std::string& host, int64_t port, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::string why = "no address";
  do {
    const Addresses addresses = resolve(host, port, SOCK_STREAM);
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
      Descriptor descriptor(socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (descriptor.get() < 0) continue;
      make_ready(descriptor.get());
      int error = connect(descriptor.get(), a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
      if (error == EINPROGRESS) {
        pollfd wait{descriptor.get(), POLLOUT, 0};
        error = ETIMEDOUT;
        if (poll(&wait, 1, 2000) > 0) {
          socklen_t size = sizeof error;
          getsockopt(descriptor.get(), SOL_SOCKET, SO_ERROR, &error, &size);
        }
      }
      if (error == 0) return descriptor;
      why = std::strerror(error);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (std::chrono::steady_clock::now() < end);
  throw Error(str("cannot connect to ", host, ":", port, " within ", seconds, " s: ", why));
}

std::string address_towards(const std::string& host, int64_t port) {
  // Connecting a datagram socket sends nothing: it only chooses the route.
  const Addresses addresses = resolve(host, port, SOCK_DGRAM);
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    const Descriptor descriptor(socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    char text[NI_MAXHOST];
    if (descriptor.get() < 0 || connect(descriptor.get(), a->ai_addr, a->ai_addrlen) != 0 ||
        getsockname(descriptor.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
        getnameinfo(reinterpret_cast<sockaddr*>(&address), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) {
      continue;
    }
    return text;
  }
  throw Error(str("no route to ", host, ": ", std::strerror(errno)));
}

}  // namespace mose::dist
