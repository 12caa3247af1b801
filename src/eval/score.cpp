#include "mose/eval/score.h"

#include "eval/score_details.h"
#include "eval/score_items.h"
#include "eval/score_judges.h"
#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::eval {

Json score(const ScoreOptions& options, const std::function<void(const Json&)>& on_item) {
  if (options.judges.empty()) throw UsageError("score: no judge is named");
  const Tasks tasks = load_tasks(options.root, options.split);
  const Answers answers = load_all_answers(options.answers, tasks);
  Answers blind;
  const bool has_blind = !options.blind_answers.empty();
  if (has_blind) blind = load_all_answers(options.blind_answers, tasks);

  Json out = {{"judge", ""},
              {"comparable", false},
              {"comparability", ""},
              {"split", coda::split_name(options.split)}};
  // How the answers were made goes with their scores: a control or an oracle stays declared.
  const auto made = options.answers / "predict.json";
  if (std::filesystem::exists(made)) out["predict"] = load_json(made);
  Json by_judge = Json::object();
  Json details = Json::object();
  // All of them first: a wrong option of the last must not come after the first has been paid.
  const auto judges = make_judges(options);
  for (const std::string& name : options.judges) {
    if (name == "facts") {
      const auto reference = fact_reference(options);
      add_facts(*reference, tasks, answers, "", details);
      if (has_blind) add_facts(*reference, tasks, blind, "blind_", details);
    } else if (name == "text") {
      add_text(tasks, answers, "", details);
      if (has_blind) add_text(tasks, blind, "blind_", details);
    }
  }
  for (const auto& judge : judges) {
    if (by_judge.empty()) {
      out["judge"] = judge->name();
      out["comparable"] = judge->comparable();
      out["comparability"] = judge->comparability();
    }
    by_judge[judge->name()] = rate_items(*judge, tasks, answers, on_item);
  }
  out.update(by_judge.front());
  out.update(details);
  if (by_judge.size() > 1) out["judges"] = by_judge;
  return out;
}

std::string score_table(const Json& scores) {
  const auto number = [](const Json& value, double factor) {
    return value.is_null() ? std::string("-") : fixed(factor * value.get<double>(), 2);
  };
  std::string out = str("| task (judge: ", scores["judge"].get<std::string>(),
                        ") | official | strict | count | missing | unjudged |\n"
                        "|---|---:|---:|---:|---:|---:|\n");
  for (const auto& [name, task] : scores["tasks"].items()) {
    out += str("| ", name, " | ", number(task["official"], 1), " | ", number(task["strict"], 1),
               " | ", task["count"].dump(), " | ", task["missing"].dump(), " | ",
               task["unjudged"].dump(), " |\n");
  }
  out += str("| final | ", number(scores["final"], 1), " | ", number(scores["final_strict"], 1),
             " | | | |\n");
  if (!scores["regions"].empty()) {
    out += "\n| region class | official | strict | count |\n|---|---:|---:|---:|\n";
    for (const auto& [name, region] : scores["regions"].items()) {
      out += str("| ", name, " | ", number(region["official"], 1), " | ",
                 number(region["strict"], 1), " | ", region["count"].dump(), " |\n");
    }
  }
  if (scores.contains("spent")) {
    const Json& spent = scores["spent"];
    out += str("\nProtocol ", scores["protocol"]["name"].get<std::string>(), ", sha256 ",
               scores["protocol"]["sha256"].get<std::string>(), "\n", spent["verdicts"].dump(),
               " verdicts, ", spent["from_cache"].dump(), " of them from the cache; ",
               spent["requests"].dump(), " requests, ", spent["failed_requests"].dump(),
               " of them failed; ", spent["prompt_tokens"].dump(), " + ",
               spent["completion_tokens"].dump(), " tokens");
    if (!spent["cost"].is_null()) {
      out += str("; ", fixed(spent["cost"].get<double>(), 2), " ",
                 spent["currency"].get<std::string>(), ", ",
                 fixed(spent["run_cost"].get<double>(), 2), " of it in this run");
    }
    out += "\n";
  }
  if (scores.contains("facts")) {
    const bool blind = scores.contains("blind_facts");
    out += str("\n| facts | precision | recall | F1 |", blind ? " blind F1 | margin |" : "",
               "\n|---|---:|---:|---:|", blind ? "---:|---:|" : "", "\n");
    for (const auto& [stage, s] : scores["facts"].items()) {
      out += str("| ", stage, " | ", number(s["precision"], 100), " | ", number(s["recall"], 100),
                 " | ", number(s["f1"], 100), " |");
      if (blind) {
        const Json& control = scores["blind_facts"][stage]["f1"];
        out += str(" ", number(control, 100), " | ",
                   fixed(100 * (s["f1"].get<double>() - control.get<double>()), 2), " |");
      }
      out += "\n";
    }
  }
  if (scores.contains("text")) {
    out +=
        "\n| text | ROUGE-L | BLEU | CIDEr-D | mention precision | mention recall | count |\n"
        "|---|---:|---:|---:|---:|---:|---:|\n";
    for (const char* task : coda::kTasks) {
      const Json &s = scores["text"][task], &said = scores["mentions"][task]["classes"];
      out += str("| ", task, " | ", number(s["rouge_l"], 1), " | ", number(s["bleu"], 1), " | ",
                 number(s["cider"], 1), " | ", number(said["precision"], 100), " | ",
                 number(said["recall"], 100), " | ", s["count"].dump(), " |\n");
    }
  }
  return out + "\n" + scores["comparability"].get<std::string>() + "\n";
}

}  // namespace mose::eval
