// The commands of mose-eval that work on what `score` wrote.
#pragma once

namespace CLI {
class App;
}

// compare, agreement
void define_compare_commands(CLI::App& app);
