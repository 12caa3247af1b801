// The commands of mose-eval that write something to show: a report, the challenge's archive.
#pragma once

namespace CLI {
class App;
}

// report, submission
void define_report_commands(CLI::App& app);
