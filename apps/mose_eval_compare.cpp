#include "mose_eval_compare.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "mose/core/strings.h"
#include "mose/eval/agreement.h"
#include "mose/eval/compare.h"
#include "mose/eval/tables.h"

namespace {

namespace fs = std::filesystem;
using namespace mose::eval;

void add_format(CLI::App& command, std::string& format) {
  command.add_option("--format", format, "what goes to stdout: markdown, csv or json")
      ->check(CLI::IsMember(kTableFormats))
      ->capture_default_str()
      ->group("Output");
}

void define_compare(CLI::App& app) {
  struct Arguments {
    CompareOptions options;
    std::string format = "markdown";
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "compare",
      "Two systems on the same items: difference with interval, win, tie and loss, by "
      "task, region class and skill of the reference");
  command->add_option("A", a->options.a, "folder that score wrote")->required()->group("Input");
  command->add_option("B", a->options.b, "folder that score wrote, of the other system")
      ->required()
      ->group("Input");
  command->add_option("--judge", a->options.judge, "whose scores; default the first one of A")
      ->group("Input");
  command
      ->add_flag("--common", a->options.common,
                 "compare the items that both have, and count the others, where the sets differ")
      ->group("Input");
  command
      ->add_option("--taxonomy", a->options.taxonomy,
                   "skills of the reference texts; default configs/skills/driving.json")
      ->group("Input");
  command->add_option("--resamples", a->options.resamples, "draws of the bootstrap")
      ->check(CLI::Range(100, 1000000))
      ->capture_default_str()
      ->group("Statistics");
  command->add_option("--seed", a->options.seed, "of the draws")
      ->capture_default_str()
      ->group("Statistics");
  add_format(*command, a->format);
  command->callback([a] {
    const Comparison comparison = compare(a->options);
    if (a->format == "json") {
      std::cout << comparison_json(comparison).dump(2) << "\n";
    } else {
      std::cout << format_tables({comparison_table(comparison)}, a->format);
      if (a->format == "markdown") std::cout << "\n" << comparison_note(comparison);
    }
  });
}

void define_agreement(CLI::App& app) {
  struct Arguments {
    std::vector<fs::path> folders;
    size_t disputed = 20;
    std::string format = "markdown";
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "agreement",
      "Judges on the same answers: weighted kappa, correlation, the most disputed "
      "items, and each judge's own noise from its repeats");
  command->add_option("folders", a->folders, "folders that score wrote; each judge in them counts")
      ->required()
      ->group("Input");
  command->add_option("--disputed", a->disputed, "how many of the most disputed items to list")
      ->capture_default_str()
      ->group("Output");
  add_format(*command, a->format);
  command->callback([a] {
    const Agreement found = agreement(a->folders, a->disputed);
    std::cout << format_tables(agreement_tables(found), a->format);
    if (a->format == "markdown" && !found.disputed.empty()) {
      std::cout << "\nMean spread (standard deviation) of an item's scores: "
                << mose::fixed(found.mean_deviation, 2)
                << " of 100. Kappa has quadratic weights; noise is the deviation within an item "
                   "that was rated more than once.\n";
    }
  });
}

}  // namespace

void define_compare_commands(CLI::App& app) {
  define_compare(app);
  define_agreement(app);
}
