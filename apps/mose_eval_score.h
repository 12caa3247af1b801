// The commands of mose-eval that judge: score, protocol, batch.
#pragma once

namespace CLI {
class App;
}

void define_score_command(CLI::App& app);
void define_protocol_commands(CLI::App& app);
void define_batch_commands(CLI::App& app);
