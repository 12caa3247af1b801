#include "mose_eval_score.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"
#include "mose/eval/batch.h"
#include "mose/eval/score.h"

namespace {

namespace fs = std::filesystem;
using namespace mose::eval;

constexpr const char* kModelGroup = "Language model as judge";
constexpr const char* kServerGroup = "Judge's server";

struct Arguments {
  ScoreOptions options;
  std::string judges = "facts,text", models, format = "markdown", key_env;
  fs::path out, key_file, tokenizer;
  bool dry_run = false;

  void add_input(CLI::App& command) {
    command.add_option("--coda", options.root, "root of a set in CODA-LM's layout")
        ->required()
        ->group("Input");
    command.add_option("--split", options.split, "Train, Val, Test or Mini")
        ->required()
        ->group("Input");
    command.add_option("--answers", options.answers, "folder of <task>_answer.jsonl files")
        ->required()
        ->group("Input");
  }

  void add_model(CLI::App& command, const std::string& which) {
    const std::string group = kModelGroup;
    command.add_option("--model", models, which)->group(group);
    command
        .add_option("--protocol", options.protocol,
                    "what the judge is told and shown (see mose-eval protocol); default "
                    "configs/protocols/mose.json")
        ->group(group);
    command.add_option("--repeats", options.repeats, "how often each item is judged")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str()
        ->group(group);
    command
        .add_flag("--retry-unreadable", options.server.retry_unreadable,
                  "ask again where the cache holds a reply without a readable rating")
        ->group(group);
    command
        .add_option(
            "--prices", options.prices,
            "JSON: {\"currency\": \"USD\", \"models\": {NAME: {\"input\": X, \"output\": Y}}}, "
            "money for a million tokens")
        ->group(group);
  }

  void add_server(CLI::App& command) {
    const std::string group = kServerGroup;
    OpenAiOptions& server = options.server;
    command
        .add_option("--base-url", server.base_url,
                    "address that speaks OpenAI's protocol; requests go to URL/chat/completions. "
                    "https_proxy, http_proxy and no_proxy of the environment hold")
        ->capture_default_str()
        ->group(group);
    command
        .add_option(
            "--key-env", key_env,
            "variable of the environment that holds the key; default OPENAI_API_KEY, and no "
            "key where that is not set")
        ->group(group);
    command.add_option("--key-file", key_file, "file whose first line is the key")
        ->excludes("--key-env")
        ->group(group);
    command
        .add_option("--ca-file", server.ca_file, "certificates to trust, instead of the system's")
        ->check(CLI::ExistingFile)
        ->group(group);
    command.add_option("--parallel", server.parallel, "requests on their way at once")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str()
        ->group(group);
    command.add_option("--requests-per-minute", server.requests_per_minute, "limit; 0 for none")
        ->check(CLI::Range(0.0, 1e6))
        ->capture_default_str()
        ->group(group);
    command
        .add_option("--attempts", server.attempts,
                    "of a request that meets 429, 5xx, a time-out or a dropped connection, before "
                    "its item counts as unjudged; three at most for an unreadable rating")
        ->check(CLI::Range(1, 100))
        ->capture_default_str()
        ->group(group);
    command.add_option("--timeout", server.timeout, "seconds for one request")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str()
        ->group(group);
    command
        .add_option("--retry-delay", server.retry_delay,
                    "seconds before the second attempt; doubles from there, up to 60")
        ->check(CLI::Range(0.0, 60.0))
        ->capture_default_str()
        ->group(group);
  }

  void resolve_models() {
    if (models.empty()) return;
    for (const std::string& model : mose::split(models, ',')) {
      options.models.push_back(mose::trim(model));
    }
  }
};

// An option that does nothing must not look as if it did.
void refuse_idle_options(const CLI::App& command, const std::vector<std::string>& judges,
                         bool dry_run) {
  const auto has = [&judges](const char* name) {
    return std::find(judges.begin(), judges.end(), name) != judges.end();
  };
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0) continue;
    const std::string &group = option->get_group(), name = option->get_name();
    const char* judge = name == "--recording"                           ? "recorded"
                        : group == kModelGroup || group == kServerGroup ? "openai"
                                                                        : nullptr;
    if (judge && !has(judge)) {
      throw mose::UsageError(mose::str(name, " is for --judge ", judge, ", which is not asked"));
    }
    if (name == "--tokenizer" && !dry_run) throw mose::UsageError("--tokenizer is for --dry-run");
  }
}

void run_score(Arguments& a, const CLI::App& command) {
  a.options.judges = parse_judges(a.judges);
  refuse_idle_options(command, a.options.judges, a.dry_run);
  a.resolve_models();
  if (a.options.cache.empty()) a.options.cache = a.out / "verdicts.sqlite";
  if (a.dry_run) {
    const mose::Json plan = plan_score(a.options, a.tokenizer);
    std::cout << (a.format == "json" ? plan.dump(2) + "\n" : plan_table(plan));
    return;
  }
  const auto& judges = a.options.judges;
  if (std::find(judges.begin(), judges.end(), "openai") != judges.end()) {
    OpenAiOptions& server = a.options.server;
    server.base_url = check_base_url(server.base_url);
    server.key = read_judge_key(a.key_file, a.key_env.empty() ? "OPENAI_API_KEY" : a.key_env,
                                !a.key_env.empty());
    if (!server.key.empty() && sends_in_the_open(server.base_url)) {
      mose::log::warn(server.base_url, ": the key goes over the network without encryption");
    }
  }
  std::string items;
  const mose::Json scores = score(a.options, [&items](const mose::Json& row) {
    items += row.dump(-1, ' ', false, mose::Json::error_handler_t::replace) + "\n";
  });
  mose::make_directories(a.out);
  mose::write_file(a.out / "items.jsonl", items);
  mose::save_json(a.out / "scores.json", scores);
  mose::log::info("wrote ", (a.out / "scores.json").string(), " and items.jsonl beside it");
  std::cout << (a.format == "json" ? scores.dump(2) + "\n" : score_table(scores));
}

}  // namespace

void define_score_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "score",
      "Score answer files against a split; writes OUT/scores.json and, with a row for each item, "
      "OUT/items.jsonl");
  a->add_input(*command);
  command
      ->add_option("--blind-answers", a->options.blind_answers,
                   "answers of the same model to images replaced by their mean colour: the control")
      ->group("Input");
  command
      ->add_option(
          "--judge", a->judges,
          "facts (true facts of a set by mose-data scenes), text (ROUGE-L, BLEU), openai (a "
          "language model), recorded (verdicts of a file), or several with a comma between; "
          "the first gives the tasks' scores")
      ->capture_default_str()
      ->group("Judging");
  command
      ->add_option("--lexicon", a->options.lexicon,
                   "phrases of the facts judge; default configs/facts/driving.json")
      ->group("Judging");
  command
      ->add_option("--recording", a->options.recording,
                   "verdicts of the judge recorded: an items.jsonl, or rows of the same keys")
      ->group("Judging");
  a->add_model(*command, "name of the judge at its server; several with a comma between");
  command
      ->add_option(
          "--cache", a->options.cache,
          "verdicts that were paid for, kept in one SQLite file; default OUT/verdicts.sqlite")
      ->group(kModelGroup);
  command
      ->add_flag("--dry-run", a->dry_run,
                 "print requests, tokens and money, and send and write nothing")
      ->group(kModelGroup);
  command
      ->add_option("--tokenizer", a->tokenizer,
                   "folder of a tokenizer that counts --dry-run's tokens; default an estimate")
      ->group(kModelGroup);
  a->add_server(*command);
  command->add_option("--out", a->out, "folder for scores.json and items.jsonl")
      ->required()
      ->group("Output");
  command->add_option("--format", a->format, "what goes to stdout: markdown or json")
      ->check(CLI::IsMember({"markdown", "json"}))
      ->capture_default_str()
      ->group("Output");
  command->callback([a, command] { run_score(*a, *command); });
}

void define_batch_commands(CLI::App& app) {
  CLI::App* batch = app.add_subcommand(
      "batch", "Judging through a provider's batch interface: requests out, replies in");
  batch->require_subcommand(1);

  const auto define = [batch](const char* name, const char* help) {
    auto a = std::make_shared<Arguments>();
    CLI::App* command = batch->add_subcommand(name, help);
    a->add_input(*command);
    a->add_model(*command, "name of the judge at its provider");
    command->add_option("--cache", a->options.cache, "the SQLite file of verdicts that score uses")
        ->required()
        ->group(kModelGroup);
    return std::pair{command, a};
  };
  {
    auto [command, a] =
        define("write",
               "Write the requests whose verdicts the cache lacks, in the JSON lines of the batch "
               "interface");
    auto limit = std::make_shared<int64_t>(50000);
    command->add_option("--out", a->out, "the file to write")->required()->group("Output");
    command
        ->add_option(
            "--max-requests", *limit,
            "in one file, the rest into OUT.2, OUT.3, ... before the ending; 0 for no limit")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str()
        ->group("Output");
    command->callback([a = a, limit] {
      a->resolve_models();
      std::cout << write_batch(a->options, a->out, *limit).dump(2) << "\n";
    });
  }
  {
    auto [command, a] = define(
        "read", "Store the provider's replies in the cache; score then asks only for what is left");
    auto files = std::make_shared<std::vector<fs::path>>();
    command->add_option("--replies", *files, "output and error files of the provider")
        ->required()
        ->group("Input");
    command->callback([a = a, files] {
      a->resolve_models();
      const mose::Json counts = read_batch(a->options, *files);
      for (const mose::Json& problem : counts["problems"]) {
        mose::log::warn(problem.get<std::string>());
      }
      std::cout << counts.dump(2) << "\n";
    });
  }
}

void define_protocol_commands(CLI::App& app) {
  CLI::App* protocol = app.add_subcommand(
      "protocol", "What a language model as judge is told and shown, pinned by a hash");
  protocol->require_subcommand(1);
  {
    auto from = std::make_shared<fs::path>();
    auto out = std::make_shared<fs::path>();
    CLI::App* command = protocol->add_subcommand(
        "import", "Read the official protocol out of a CODA-LM checkout's evaluation scripts");
    command->add_option("--from", *from, "folder of the checkout")->required()->group("Input");
    command->add_option("--out", *out, "protocol file to write")->required()->group("Output");
    command->callback([from, out] {
      const Protocol imported = import_protocol(*from);
      mose::save_json(*out, to_json(imported));
      std::cout << imported.sha256 << "  " << out->string() << "\n";
      if (is_published(imported)) {
        mose::log::info("this is the protocol as CODA-LM published it");
      } else {
        mose::log::warn("this is not the protocol as CODA-LM published it: its hash is another");
      }
    });
  }
  {
    auto file = std::make_shared<fs::path>();
    auto json = std::make_shared<bool>(false);
    CLI::App* command = protocol->add_subcommand("show", "Print a protocol for reading");
    command->add_option("FILE", *file, "protocol file; default configs/protocols/mose.json")
        ->group("Input");
    command->add_flag("--json", *json, "print the file's content, with its hash")->group("Output");
    command->callback([file, json] {
      const Protocol shown = load_protocol(file->empty() ? default_protocol() : *file);
      std::cout << (*json ? to_json(shown).dump(2) + "\n" : protocol_text(shown));
    });
  }
}
