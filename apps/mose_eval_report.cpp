#include "mose_eval_report.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"
#include "mose/eval/report.h"
#include "mose/eval/submission.h"
#include "mose/eval/tables.h"

namespace {

namespace fs = std::filesystem;
using namespace mose::eval;

void write(const fs::path& out, const std::string& content) {
  if (out.has_parent_path()) mose::make_directories(out.parent_path());
  mose::write_file(out, content);
  mose::log::info("wrote ", out.string(), " (", mose::human_bytes(double(content.size())), ")");
}

void define_report(CLI::App& app) {
  struct Arguments {
    fs::path spec, out;
    std::vector<std::string> scores;
    std::string coda, split, title, published, format = "html";
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "report",
      "One static HTML file: scores beside published ones, parts, single items, judges, curves, "
      "routing; or its tables");
  auto* spec =
      command->add_option("--spec", a->spec, "JSON that names the arms (see mose/eval/report.h)")
          ->group("Input");
  const auto without_spec = [&](const char* name, auto& value, const char* help) {
    return command->add_option(name, value, help)->excludes(spec)->group("Input");
  };
  auto* scores =
      without_spec("--scores", a->scores,
                   "instead of --spec: a folder that score wrote, or NAME=FOLDER; may be "
                   "given again for another system");
  for (auto* option :
       {without_spec("--coda", a->coda, "root of the set, for the pictures"),
        without_spec("--split", a->split, "Train, Val, Test or Mini, with --coda"),
        without_spec("--title", a->title, "heading"),
        without_spec("--published", a->published,
                     "none, or a file like configs/published/coda_lm.json, which is the default "
                     "where the judge is comparable")}) {
    option->needs(scores);
  }
  command
      ->add_option("--format", a->format, "html, or the report's tables as markdown, csv or json")
      ->check(CLI::IsMember({"html", "markdown", "csv", "json"}))
      ->capture_default_str()
      ->group("Output");
  command->add_option("--out", a->out, "the file to write; tables go to stdout without it")
      ->group("Output");
  command->callback([a] {
    if (a->format == "html" && a->out.empty()) throw mose::UsageError("report: --out is required");
    ReportSpec spec;
    if (!a->spec.empty()) {
      spec = load_report_spec(a->spec);
    } else {
      spec = report_spec_of(a->scores);
      spec.coda = a->coda;
      spec.split = a->split;
      spec.published = a->published;
      if (!a->title.empty()) spec.title = a->title;
      if (a->coda.empty() != a->split.empty()) {
        throw mose::UsageError("report: --coda and --split go together");
      }
    }
    const std::string text =
        a->format == "html" ? render_report(spec) : format_tables(report_tables(spec), a->format);
    if (a->out.empty()) {
      std::cout << text;
    } else {
      write(a->out, text);
      std::cout << a->out.string() << "\n";
    }
  });
}

void define_submission(CLI::App& app) {
  struct Arguments {
    SubmissionOptions options;
    fs::path out;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "submission",
      "The archive of the public challenge: a ZIP of the three answer files, checked");
  command->add_option("--coda", a->options.root, "root of the set whose questions are answered")
      ->required()
      ->group("Input");
  command->add_option("--split", a->options.split, "Train, Val, Test or Mini")
      ->required()
      ->group("Input");
  command->add_option("--answers", a->options.answers, "folder of the three <task>_answer.jsonl")
      ->required()
      ->group("Input");
  command->add_flag("--incomplete", a->options.incomplete, "let missing and empty answers pass")
      ->group("Input");
  command->add_option("--out", a->out, "the ZIP file to write")->required()->group("Output");
  command->callback([a] {
    const Submission made = make_submission(a->options);
    write(a->out, made.archive);
    for (const auto& [name, count] : made.counts)
      std::cout << name << ": " << count << " answers\n";
  });
}

}  // namespace

void define_report_commands(CLI::App& app) {
  define_report(app);
  define_submission(app);
}
