#include "mose/core/signals.h"

#include <csignal>
#include <cstring>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose {
namespace {

volatile std::sig_atomic_t g_signal = 0;  // the one thing a handler may touch

void handle(int signal) {
  if (g_signal != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  g_signal = signal;
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of the write
}

int stop_signal() { return g_signal; }

void throw_if_stopped() {
  if (g_signal != 0) throw Interrupted(g_signal);
}

Interrupted::Interrupted(int signal)
    : Error(str("stopped by signal ", signal, " (", strsignal(signal), ")"), 128 + signal) {}

}  // namespace mose
