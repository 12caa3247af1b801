// SIGINT and SIGTERM ask long work to stop at its next safe point; a second one ends the process.
#pragma once

namespace mose {

void install_signal_handlers();
int stop_signal();  // 0, or the signal that asked to stop
// Throws Interrupted when a signal has come.
void throw_if_stopped();

}  // namespace mose
