// mose-eval: scores and reports, without LibTorch.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/program.h"
#include "mose/core/strings.h"
#include "mose/eval/judge.h"
#include "mose/eval/report.h"
#include "mose/eval/score.h"
#include "mose_eval_compare.h"

namespace {

namespace fs = std::filesystem;

struct ScoreArguments {
  mose::eval::ScoreOptions options;
  std::string judges = "facts,text", format = "markdown";
  fs::path out;
};

void define_score(CLI::App& app, ScoreArguments& a) {
  CLI::App* command = app.add_subcommand(
      "score",
      "Score answer files against a split with offline judges; writes OUT/scores.json and "
      "OUT/items.jsonl");
  command->add_option("--coda", a.options.root, "root of a set in CODA-LM's layout")
      ->required()
      ->group("Input");
  command->add_option("--split", a.options.split, "Train, Val, Test or Mini")
      ->required()
      ->group("Input");
  command->add_option("--answers", a.options.answers, "folder of <task>_answer.jsonl files")
      ->required()
      ->group("Input");
  command
      ->add_option("--blind-answers", a.options.blind_answers,
                   "answers of the same model to images replaced by their mean colour: the control")
      ->group("Input");
  command
      ->add_option("--judge", a.judges,
                   "facts (true facts of a set by mose-data scenes), text (ROUGE-L, BLEU), or both "
                   "with a comma between; the first gives the tasks' scores")
      ->capture_default_str()
      ->group("Judging");
  command
      ->add_option("--lexicon", a.options.lexicon,
                   "phrases of the facts judge; default configs/facts/driving.json")
      ->group("Judging");
  command->add_option("--out", a.out, "folder for scores.json")->required()->group("Output");
  command->add_option("--format", a.format, "what goes to stdout: markdown or json")
      ->check(CLI::IsMember({"markdown", "json"}))
      ->capture_default_str()
      ->group("Output");
  command->callback([&a] {
    a.options.judges = mose::eval::parse_judges(a.judges);
    std::string items;
    const mose::Json scores = mose::eval::score(a.options, [&items](const mose::Json& row) {
      items += row.dump(-1, ' ', false, mose::Json::error_handler_t::replace) + "\n";
    });
    mose::make_directories(a.out);
    mose::write_file(a.out / "items.jsonl", items);
    mose::save_json(a.out / "scores.json", scores);
    mose::log::info("wrote ", (a.out / "scores.json").string(), " and items.jsonl beside it");
    std::cout << (a.format == "json" ? scores.dump(2) + "\n" : mose::eval::score_table(scores));
  });
}

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
      "Scores the answers of driving VLMs with offline judges and reports them in one HTML file.",
      {}};
  ScoreArguments score;
  ReportArguments report;
  return mose::run_program(argc, argv, info, [&](CLI::App& app) {
    define_score(app, score);
    define_report(app, report);
    define_compare_commands(app);
    app.require_subcommand(1);
  });
}
