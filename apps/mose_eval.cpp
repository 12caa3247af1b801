// mose-eval: scores and reports, without LibTorch.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/program.h"
#include "mose/core/strings.h"
#include "mose/eval/report.h"
#include "mose_eval_compare.h"
#include "mose_eval_score.h"

namespace {

namespace fs = std::filesystem;

struct ReportArguments {
  fs::path spec, out;
};

void define_report(CLI::App& app, ReportArguments& a) {
  CLI::App* command = app.add_subcommand(
      "report", "One static HTML file: score table, curves, sample pictures, routing heat maps");
  command->add_option("--spec", a.spec, "JSON that names the arms (see mose/eval/report.h)")
      ->required()
      ->group("Input");
  command->add_option("--out", a.out, "the HTML file to write")->required()->group("Output");
  command->callback([&a] {
    const std::string html = mose::eval::render_report(mose::eval::load_report_spec(a.spec));
    if (a.out.has_parent_path()) mose::make_directories(a.out.parent_path());
    mose::write_file(a.out, html);
    mose::log::info("wrote ", a.out.string(), " (", mose::human_bytes(double(html.size())), ")");
    std::cout << a.out.string() << "\n";
  });
}

}  // namespace

int main(int argc, char** argv) {
  const mose::ProgramInfo info{
      "mose-eval",
      "Scores the answers of driving VLMs, with offline judges or a language model as judge, and "
      "reports them in one HTML file.",
      {}};
  ReportArguments report;
  return mose::run_program(argc, argv, info, [&](CLI::App& app) {
    define_score_command(app);
    define_report(app, report);
    define_compare_commands(app);
    define_protocol_commands(app);
    define_batch_commands(app);
    app.require_subcommand(1);
  });
}
