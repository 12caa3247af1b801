// mose-data: renders procedural scenes, turns annotations into the skill dataset, and shows it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/program.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/eval/chat_annotator.h"
#include "mose/scenes/dataset.h"
#include "mose/skills/annotator.h"
#include "mose/skills/inspect.h"
#include "mose/skills/prepare.h"
#include "mose/skills/stats.h"

namespace {

using namespace mose;

constexpr const char* kDefaultTaxonomy = "skills/driving.json";

skills::Taxonomy load_taxonomy(const std::string& file) {
  return skills::Taxonomy::load(file.empty() ? resource(kDefaultTaxonomy) : std::filesystem::path(file));
}

void add_taxonomy(CLI::App& app, std::string& file) {
  app.add_option("--taxonomy", file, "skill taxonomy with its rules (default: configs/skills/driving.json)")
      ->group("Labels");
}

void add_scenes(CLI::App& app) {
  auto& command = *app.add_subcommand("scenes", "Render the procedural driving set in CODA-LM's layout");
  auto options = std::make_shared<scenes::Options>();
  command.add_option("--out", options->out, "folder to write")->required();
  command.add_option("--train", options->train, "scenes of the Train split")->capture_default_str();
  command.add_option("--val", options->val, "scenes of the Val split")->capture_default_str();
  command.add_option("--test", options->test, "scenes of the Test split")->capture_default_str();
  command.add_option("--seed", options->seed, "seed of every scene")->capture_default_str();
  command.add_option("--hold-out", options->hold_out,
                     "share of the combinations of class, place and weather that only Test has")
      ->capture_default_str()
      ->group("Rare situations");
  command.add_option("--tail", options->tail,
                     "the k-th class is drawn in proportion to k^-TAIL in Train and Val; 0 = all alike, as in Test")
      ->capture_default_str()
      ->group("Rare situations");
  command.add_option("--width", options->width, "pixels")->capture_default_str()->group("Picture");
  command.add_option("--height", options->height, "pixels")->capture_default_str()->group("Picture");
  command.add_option("--threads", options->threads, "threads; does not change the output")
      ->capture_default_str()
      ->group("Picture");
  command.callback([options] { scenes::write_dataset(*options); });
}

void add_prepare(CLI::App& app) {
  auto& command = *app.add_subcommand("prepare", "Turn a CODA-LM root into the skill dataset");
  struct State {
    std::filesystem::path coda, out;
    std::string split = "Train", taxonomy;
    skills::PrepareOptions options;
    bool no_single_turn = false, no_multi_turn = false, no_regions = false;
  };
  auto state = std::make_shared<State>();
  command.add_option("--coda", state->coda, "CODA root: DIR/CODA-LM/<Split>/*.json and DIR/{val,test}/images")
      ->required();
  command.add_option("--split", state->split, "Train, Val, Test or Mini")->capture_default_str();
  command.add_option("--out", state->out, "folder of the dataset; several splits may share it")->required();
  add_taxonomy(command, state->taxonomy);
  command.add_flag("--skip-bad", state->options.skip_bad, "leave out malformed annotations, and list them");
  command.add_flag("--no-single-turn", state->no_single_turn, "no one-turn answers")->group("Forms");
  command.add_flag("--no-multi-turn", state->no_multi_turn, "no samples of the three separate tasks")->group("Forms");
  command.add_flag("--no-regions", state->no_regions, "no samples of single regions")->group("Forms");
  command.callback([state] {
    state->options.single_turn = !state->no_single_turn;
    state->options.multi_turn = !state->no_multi_turn;
    state->options.regions = !state->no_regions;
    const auto report = skills::prepare(state->coda, state->split, state->out,
                                        load_taxonomy(state->taxonomy), state->options);
    std::cout << report.samples << " samples of " << report.annotations << " annotations in "
              << state->out.string() << ", " << report.skipped.size() << " left out\n";
    for (const auto& [task, count] : report.by_task) std::cout << "  " << task << ": " << count << "\n";
  });
}

// One line of input: {"answer", "task"?, "category"?, ...} or the answer itself.
struct AnnotateLine {
  Json json;
  eval::AnswerToLabel answer;
};

AnnotateLine read_line(const std::string& line, const std::string& task, const std::string& where) {
  AnnotateLine out{{{"answer", line}}, {}};
  if (line.front() == '{') out.json = parse_json(line, where);
  out.answer.text = json_string(out.json, "answer", where);
  out.answer.task = out.json.contains("task") ? json_string(out.json, "task", where) : task;
  out.answer.category = out.json.contains("category") ? json_string(out.json, "category", where) : "";
  return out;
}

void print_labels(AnnotateLine& line, const skills::LabelledText& labelled, const skills::Taxonomy& taxonomy) {
  skills::Sample sample;
  sample.segments = labelled.segments;
  sample.labels = labelled.labels;
  const Json labels = skills::sample_to_json(sample, taxonomy);
  line.json["segments"] = labels["segments"];
  line.json["labels"] = labels["labels"];
  std::cout << line.json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

constexpr const char* kChatGroup = "Chat model (--with chat)";

struct AnnotateOptions {
  std::string input = "-", taxonomy, task, with = "rules", model, key_env;
  std::filesystem::path key_file, cache, prompt, agreement;
  eval::OpenAiOptions server;

  void add_chat(CLI::App& command) {
    const auto add = [&](const char* name, auto& value, const char* help) { return command.add_option(name, value, help)->group(kChatGroup); };
    add("--model", model, "its name at its server");
    add("--base-url", server.base_url, "address that speaks OpenAI's protocol")->capture_default_str();
    add("--key-env", key_env, "variable of the environment that holds the key; default OPENAI_API_KEY, and no key where that is not set");
    add("--key-file", key_file, "file whose first line is the key")->excludes("--key-env");
    add("--cache", cache, "the SQLite file in which replies are kept as they arrive; what it holds is not asked again");
    add("--prompt", prompt, "what the model is told (default: configs/annotators/chat.json)");
    add("--parallel", server.parallel, "requests on their way at once")->check(CLI::Range(1, 1024))->capture_default_str();
    add("--requests-per-minute", server.requests_per_minute, "limit; 0 for none")->check(CLI::Range(0.0, 1e6))->capture_default_str();
    add("--attempts", server.attempts, "of a request before its answer counts as unlabelled; three at most for an unreadable reply")
        ->check(CLI::Range(1, 100))->capture_default_str();
    add("--timeout", server.timeout, "seconds for one request")->check(CLI::Range(0.1, 3600.0))->capture_default_str();
    add("--retry-delay", server.retry_delay, "seconds before the second attempt; doubles from there, up to 60")
        ->check(CLI::Range(0.0, 60.0))->capture_default_str();
    add("--agreement", agreement, "also write how far the model and the rules agree, skill by skill, to this JSON file");
  }

  void check(const CLI::App& command) {
    if (with == "chat") {
      if (model.empty()) throw UsageError("--with chat: --model is missing: the name under which the server knows the model");
      if (cache.empty()) throw UsageError("--with chat: --cache is missing: the file that keeps the replies");
      server.base_url = eval::check_base_url(server.base_url);
      server.key = eval::read_judge_key(key_file, key_env.empty() ? "OPENAI_API_KEY" : key_env, !key_env.empty());
      if (!server.key.empty() && eval::sends_in_the_open(server.base_url)) {
        log::warn(server.base_url, ": the key goes over the network without encryption");
      }
      return;
    }
    for (const CLI::Option* option : command.get_options()) {
      if (option->count() > 0 && option->get_group() == kChatGroup) throw UsageError(str(option->get_name(), " is for --with chat"));
    }
  }
};

void annotate_by_chat(const AnnotateOptions& options, const skills::Annotator& rules, std::vector<AnnotateLine>& lines) {
  const auto& taxonomy = rules.taxonomy();
  const auto prompt = eval::LabelPrompt::load(options.prompt.empty() ? resource("annotators/chat.json") : options.prompt, taxonomy);
  std::vector<eval::AnswerToLabel> answers;
  for (const auto& line : lines) answers.push_back(line.answer);
  const auto found = eval::label_by_chat(options.server, options.model, prompt, rules, std::make_shared<eval::VerdictCache>(options.cache), answers);
  skills::Agreement agreement(taxonomy);
  int64_t unlabelled = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!found[i].problem.empty()) {
      lines[i].json["problem"] = found[i].problem;
      ++unlabelled;
    } else {
      const auto by_rules = skills::label_answer(rules, answers[i].text, answers[i].task, answers[i].category);
      const auto sentences = skills::answer_sentences(answers[i].text, by_rules.segments, taxonomy);
      agreement.add(skills::sentence_skills(sentences, found[i].labelled.labels), skills::sentence_skills(sentences, by_rules.labels));
    }
    print_labels(lines[i], found[i].labelled, taxonomy);
  }
  if (unlabelled > 0) log::warn(unlabelled, " of ", lines.size(), " answers have no labels of the model; their lines say why (\"problem\")");
  if (!options.agreement.empty()) save_json(options.agreement, agreement.to_json());
}

void add_annotate(CLI::App& app) {
  auto& command = *app.add_subcommand(
      "annotate", "Label answers by themselves: JSON lines with \"answer\" (and \"task\", \"category\"), or plain lines");
  auto state = std::make_shared<AnnotateOptions>();
  command.add_option("input", state->input, "file to read, - for standard input")->capture_default_str();
  command.add_option("--with", state->with, "rules, or chat: a chat model in place of the rules' lexicons")
      ->check(CLI::IsMember({"rules", "chat"}))
      ->capture_default_str()
      ->group("Labels");
  command.add_option("--task", state->task,
                     "scene, general_perception, region_perception or driving_suggestion, for lines that name none")
      ->group("Labels");
  add_taxonomy(command, state->taxonomy);
  state->add_chat(command);
  command.callback([state, &command] {
    state->check(command);
    const skills::Annotator annotator(load_taxonomy(state->taxonomy));
    std::vector<AnnotateLine> all;  // of the chat model, which is asked about many at once
    const auto use = [&](const std::string& text, int64_t number) {
      if (trim(text).empty()) return;
      AnnotateLine line = read_line(trim(text), state->task, str(state->input == "-" ? "standard input" : state->input, ":", number));
      if (state->with == "chat") {
        all.push_back(std::move(line));
        return;
      }
      print_labels(line, skills::label_answer(annotator, line.answer.text, line.answer.task, line.answer.category), annotator.taxonomy());
    };
    if (state->input != "-") {
      for_each_line(state->input, use);
    } else {
      std::string line;
      for (int64_t number = 1; std::getline(std::cin, line); ++number) use(line, number);
    }
    if (state->with == "chat") annotate_by_chat(*state, annotator, all);
  });
}

// Every split that meta.json lists, or the one asked for.
std::vector<std::string> splits_of(const std::filesystem::path& dir, const std::string& split) {
  if (!split.empty()) return {split};
  const std::filesystem::path meta = dir / "meta.json";
  const Json json = load_json(meta);
  std::vector<std::string> splits;
  for (const auto& item : json_object(json, "splits", meta.string()).items()) splits.push_back(item.key());
  if (splits.empty()) throw DataError(str(meta.string(), ": field \"splits\": no split is prepared"));
  return splits;
}

void add_stats(CLI::App& app) {
  auto& command = *app.add_subcommand("stats", "Coverage by stage, skill and rule");
  struct State {
    std::filesystem::path dir;
    std::string split, tokenizer;
    bool json = false;
  };
  auto state = std::make_shared<State>();
  command.add_option("dataset", state->dir, "folder that prepare wrote")->required();
  command.add_option("--split", state->split, "one split (default: all together)");
  command.add_option("--tokenizer", state->tokenizer,
                     "count this tokenizer's tokens (a model folder or tokenizer.json) instead of words");
  command.add_flag("--json", state->json, "as JSON");
  command.callback([state] {
    skills::Dataset all;
    for (const std::string& split : splits_of(state->dir, state->split)) {
      skills::Dataset part = skills::load_dataset(state->dir, split);
      all.taxonomy = part.taxonomy;
      all.samples.insert(all.samples.end(), std::make_move_iterator(part.samples.begin()),
                         std::make_move_iterator(part.samples.end()));
    }
    const skills::Units units =
        state->tokenizer.empty()
            ? skills::word_units()
            : skills::token_units(std::make_shared<text::Tokenizer>(text::Tokenizer::load(state->tokenizer)));
    const skills::Stats stats = skills::collect_stats(all.samples, all.taxonomy, units);
    std::cout << (state->json ? skills::stats_to_json(stats).dump(2) + "\n" : skills::stats_to_table(stats));
  });
}

const skills::Sample& find_sample(const skills::Dataset& dataset, const std::string& id) {
  if (dataset.samples.empty()) throw DataError(str(dataset.dir.string(), ": the split holds no sample"));
  if (id.empty()) return dataset.samples.front();
  std::vector<std::string> ids;
  for (const skills::Sample& sample : dataset.samples) {
    if (sample.id == id) return sample;
    ids.push_back(sample.id);
  }
  const std::string near = nearest_name(id, ids);
  throw UsageError(str("--sample ", id, ": no such sample in ", dataset.dir.string(),
                       near.empty() ? str(", the first is ", ids.front()) : str(", nearest is ", near)));
}

void add_inspect(CLI::App& app) {
  auto& command = *app.add_subcommand("inspect", "Show one sample with its spans coloured");
  struct State {
    std::filesystem::path dir, html;
    std::string split = "train", sample, color = "auto";
  };
  auto state = std::make_shared<State>();
  command.add_option("dataset", state->dir, "folder that prepare wrote")->required();
  command.add_option("--split", state->split, "train, val, test or mini")->capture_default_str();
  command.add_option("--sample", state->sample, "the sample's id, for example val_0001/single (default: the first)");
  command.add_option("--html", state->html, "also write a page with the image to this file");
  command.add_option("--color", state->color, "auto (on a terminal), always or never")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "always", "never"}));
  command.callback([state] {
    const skills::Dataset dataset = skills::load_dataset(state->dir, state->split);
    const skills::Sample& sample = find_sample(dataset, state->sample);
    const bool color = state->color == "always" || (state->color == "auto" && isatty(STDOUT_FILENO));
    std::cout << skills::inspect_text(sample, dataset.taxonomy, color);
    if (!state->html.empty()) {
      write_file(state->html, skills::inspect_html(sample, dataset.taxonomy, dataset.root));
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argc, argv,
                     {"mose-data", "Renders procedural driving scenes, and turns CODA-LM annotations into a "
                                   "dataset labelled by driving skill.", {}},
                     [](CLI::App& app) {
                       app.require_subcommand(1);
                       add_scenes(app);
                       add_prepare(app);
                       add_annotate(app);
                       add_stats(app);
                       add_inspect(app);
                     });
}
