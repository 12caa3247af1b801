// mose-eval: scores and reports, without LibTorch.
#include <CLI/CLI.hpp>

#include "mose/core/program.h"
#include "mose_eval_compare.h"
#include "mose_eval_report.h"
#include "mose_eval_score.h"

int main(int argc, char** argv) {
  const mose::ProgramInfo info{
      "mose-eval",
      "Scores the answers of driving VLMs, with offline judges or a language model as judge, and "
      "reports them in one HTML file.",
      {}};
  return mose::run_program(argc, argv, info, [&](CLI::App& app) {
    define_score_command(app);
    define_report_commands(app);
    define_compare_commands(app);
    define_protocol_commands(app);
    define_batch_commands(app);
    app.require_subcommand(1);
  });
}
