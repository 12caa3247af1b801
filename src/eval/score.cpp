#include "mose/eval/score.h"

#include <array>
#include <map>
#include <memory>

#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/eval/fact_metrics.h"
#include "mose/eval/judge.h"
#include "mose/eval/text_metrics.h"

namespace mose::eval {
namespace {

constexpr size_t kListed = 50;

struct Task {
  std::string name;
  std::vector<Question> questions;
};
using Tasks = std::array<Task, 3>;
using Answers = std::array<TaskAnswers, 3>;

Answers load_all_answers(const std::filesystem::path& dir, const Tasks& tasks) {
  check_answers(dir);
  Answers out;
  for (size_t t = 0; t < 3; ++t) {
    out[t] = load_answers(dir, tasks[t].name, tasks[t].questions);
    for (const auto& [what, list] :
         {std::pair{"missing", &out[t].missing},
          {"empty", &out[t].empty},
          {"answered more than once (the first counts)", &out[t].duplicate},
          {"without a question (ignored)", &out[t].unknown}}) {
      if (list->empty()) continue;
      log::warn(coda::answer_file(dir, tasks[t].name).string(), ": ", list->size(), " ", what,
                ", first: ", list->front());
    }
  }
  return out;
}

std::string answer_or_empty(const TaskAnswers& answers, size_t i) {
  return answers.answers[i].value_or("");
}

// Means of item scores. `official` leaves missing answers out, `strict` has them judged as empty.
struct Mean {
  double official_sum = 0, strict_sum = 0;
  int64_t official = 0, strict = 0;

  void add(double score, bool answered) {
    strict_sum += score;
    ++strict;
    if (!answered) return;
    official_sum += score;
    ++official;
  }
  Json official_mean() const {
    return official == 0 ? Json() : Json(official_sum / static_cast<double>(official));
  }
  Json strict_mean() const {
    return strict == 0 ? Json() : Json(strict_sum / static_cast<double>(strict));
  }
};

Json first_of(const std::vector<std::string>& list) {
  return std::vector<std::string>(
      list.begin(), list.begin() + static_cast<std::ptrdiff_t>(std::min(list.size(), kListed)));
}

Json rate_task(Judge& judge, const Task& task, const TaskAnswers& answers, Json& regions) {
  const bool is_region = task.name == coda::kTasks[1];
  Mean mean;
  std::map<std::string, Mean> classes;
  std::vector<std::string> unjudged;
  for (size_t i = 0; i < task.questions.size(); ++i) {
    const Question& question = task.questions[i];
    const bool answered = answers.answers[i].has_value();
    const std::string prediction = answer_or_empty(answers, i);
    Verdict verdict = judge.rate({question, prediction});
    if (is_region && question.region_class.empty()) {
      verdict = {std::nullopt, "its category belongs to none of the seven classes"};
    }
    if (!verdict.score) {
      unjudged.push_back(str(item_name(question), ": ", verdict.reason));
      continue;
    }
    // An answer that is not there is worth nothing, also where silence would be right.
    const double score = answered ? *verdict.score : 0;
    mean.add(score, answered);
    if (is_region) classes[question.region_class].add(score, answered);
  }
  if (!unjudged.empty()) {
    log::warn(task.name, ": ", unjudged.size(), " not judged, first: ", unjudged.front());
  }
  for (const auto& [name, m] : classes) {
    regions[name] = {
        {"official", m.official_mean()}, {"strict", m.strict_mean()}, {"count", m.strict}};
  }
  return {{"official", mean.official_mean()},
          {"strict", mean.strict_mean()},
          {"count", task.questions.size()},
          {"judged", mean.official},
          {"missing", answers.missing.size()},
          {"unjudged", unjudged.size()},
          {"empty", answers.empty.size()},
          {"duplicate", answers.duplicate.size()},
          {"unknown", answers.unknown.size()},
          {"lists",
           {{"missing", first_of(answers.missing)},
            {"unjudged", first_of(unjudged)},
            {"empty", first_of(answers.empty)},
            {"duplicate", first_of(answers.duplicate)},
            {"unknown", first_of(answers.unknown)}}}};
}

Json mean_of_tasks(const Json& tasks, const char* key) {
  double sum = 0;
  for (const auto& [name, task] : tasks.items()) {
    if (task[key].is_null()) return nullptr;
    sum += task[key].get<double>();
  }
  return sum / static_cast<double>(tasks.size());
}

Json rate_all(Judge& judge, const Tasks& tasks, const Answers& answers) {
  Json out = {{"tasks", Json::object()}, {"regions", Json::object()}};
  for (size_t t = 0; t < 3; ++t) {
    out["tasks"][tasks[t].name] = rate_task(judge, tasks[t], answers[t], out["regions"]);
  }
  out["final"] = mean_of_tasks(out["tasks"], "official");
  out["final_strict"] = mean_of_tasks(out["tasks"], "strict");
  return out;
}

void add_facts(const FactReference& reference, const Tasks& tasks, const Answers& answers,
               const std::string& prefix, Json& out) {
  FactScore describe, reason, plan, region_describe, region_reason;
  for (size_t t = 0; t < 3; ++t) {
    for (size_t i = 0; i < tasks[t].questions.size(); ++i) {
      const Question& question = tasks[t].questions[i];
      const FactSet expected = reference.expected(question);
      const FactSet predicted = reference.predicted(question, answer_or_empty(answers[t], i));
      if (t == 2) {
        plan.add(predicted.plan, expected.plan);
      } else {
        (t == 0 ? describe : region_describe).add(predicted.describe, expected.describe);
        (t == 0 ? reason : region_reason).add(predicted.reason, expected.reason);
      }
    }
  }
  out[prefix + "facts"] = {
      {"describe", describe.to_json()}, {"reason", reason.to_json()}, {"plan", plan.to_json()}};
  out[prefix + "region_facts"] = {{"describe", region_describe.to_json()},
                                  {"reason", region_reason.to_json()}};
}

struct TextScore {
  BleuStatistics corpus;
  double rouge = 0, sentence = 0;
  int64_t count = 0;

  TextScore& operator+=(const TextScore& other) {
    corpus += other.corpus;
    rouge += other.rouge;
    sentence += other.sentence;
    count += other.count;
    return *this;
  }
  Json to_json() const {
    if (count == 0)
      return {{"rouge_l", nullptr}, {"bleu", nullptr}, {"sentence_bleu", nullptr}, {"count", 0}};
    const double n = static_cast<double>(count);
    return {{"rouge_l", 100 * rouge / n},
            {"bleu", bleu(corpus, false)},
            {"sentence_bleu", sentence / n},
            {"count", count}};
  }
};

Json text_scores(const Tasks& tasks, const Answers& answers) {
  TextScore all;
  Json by_task = Json::object();
  for (size_t t = 0; t < 3; ++t) {
    TextScore score;
    for (size_t i = 0; i < tasks[t].questions.size(); ++i) {
      const std::string& reference = tasks[t].questions[i].reference;
      if (trim(reference).empty()) continue;
      const std::string prediction = answer_or_empty(answers[t], i);
      const BleuStatistics statistics = bleu_statistics(prediction, reference);
      score.corpus += statistics;
      score.sentence += bleu(statistics, true);
      score.rouge += rouge_l(prediction, reference).f1;
      ++score.count;
    }
    by_task[tasks[t].name] = score.to_json();
    all += score;
  }
  Json out = all.to_json();
  out.update(by_task);
  return out;
}

}  // namespace

Json score(const ScoreOptions& options) {
  if (options.judges.empty()) throw UsageError("score: no judge is named");
  Tasks tasks;
  for (size_t t = 0; t < 3; ++t) {
    tasks[t] = {coda::kTasks[t], load_questions(options.root, options.split, coda::kTasks[t])};
  }
  const Answers answers = load_all_answers(options.answers, tasks);
  Answers blind;
  const bool has_blind = !options.blind_answers.empty();
  if (has_blind) blind = load_all_answers(options.blind_answers, tasks);

  Json out = {{"judge", options.judges.front()},
              {"comparable", false},
              {"comparability", ""},
              {"split", coda::split_name(options.split)}};
  Json by_judge = Json::object();
  Json details = Json::object();
  for (const std::string& name : options.judges) {
    std::unique_ptr<Judge> judge;
    if (name == "facts") {
      const auto lexicon =
          options.lexicon.empty() ? resource("facts/driving.json") : options.lexicon;
      const auto reference = std::make_shared<const FactReference>(options.root, options.split,
                                                                   FactLexicon::load(lexicon));
      judge = make_facts_judge(reference);
      add_facts(*reference, tasks, answers, "", details);
      if (has_blind) add_facts(*reference, tasks, blind, "blind_", details);
    } else if (name == "text") {
      judge = make_text_judge();
      details["text"] = text_scores(tasks, answers);
      if (has_blind) details["blind_text"] = text_scores(tasks, blind);
    } else {
      throw UsageError(str("judge \"", name, "\": expected facts or text"));
    }
    if (by_judge.empty()) {
      out["comparability"] =
          str("Not comparable with published CODA-LM scores: the judge \"", name, "\" is a ",
              judge->description(), "; published scores come from a language model as judge.");
    }
    by_judge[name] = rate_all(*judge, tasks, answers);
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
    out += "\n| text | ROUGE-L | BLEU | count |\n|---|---:|---:|---:|\n";
    for (const char* task : coda::kTasks) {
      const Json& s = scores["text"][task];
      out += str("| ", task, " | ", number(s["rouge_l"], 1), " | ", number(s["bleu"], 1), " | ",
                 s["count"].dump(), " |\n");
    }
  }
  return out + "\n" + scores["comparability"].get<std::string>() + "\n";
}

}  // namespace mose::eval
