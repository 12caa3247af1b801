#include "eval/score_items.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "mose/coda/answers.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

constexpr size_t kListed = 50;
constexpr const char* kMissing = "missing";

// Why the judge is not asked about an item; "" when it is.
std::string not_asked(const Judge& judge, const Question& question, bool answered) {
  if (question.task == coda::kTasks[1] && judge.region_class(question).empty()) {
    return "its category belongs to none of the seven classes";
  }
  const std::string reason = judge.unjudgeable(question);
  return reason.empty() && !answered ? kMissing : reason;
}

// Means of item scores. `official` leaves missing answers out, in `strict` they are the lowest.
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

// How far the verdicts on one item differ, over many items: the root of the mean variance.
struct Spread {
  double squares = 0;
  int64_t degrees = 0;

  void add(const std::vector<double>& scores, double mean) {
    for (const double score : scores) squares += (score - mean) * (score - mean);
    if (!scores.empty()) degrees += static_cast<int64_t>(scores.size()) - 1;
  }
  Json deviation() const {
    return degrees == 0 ? Json() : Json(std::sqrt(squares / static_cast<double>(degrees)));
  }
};

Json first_of(const std::vector<std::string>& list) {
  return std::vector<std::string>(
      list.begin(), list.begin() + static_cast<std::ptrdiff_t>(std::min(list.size(), kListed)));
}

Json item_row(const Question& question, const std::string& region_class,
              const std::optional<std::string>& prediction, const std::string& judge,
              int64_t repeat, const Verdict& verdict) {
  return {{"task", question.task},
          {"id", question.id},
          {"region", question.region},
          {"region_class", region_class},
          {"question_id", question.question_id},
          {"image", question.image},
          {"reference", question.reference},
          {"prediction", prediction ? Json(*prediction) : Json()},
          {"judge", judge},
          {"repeat", repeat},
          {"score", verdict.score ? Json(*verdict.score) : Json()},
          {"reason", verdict.reason},
          {"reply", verdict.reply}};
}

// One judge's pass over all items: hands out the verdicts in the order in which they were asked
// for.
struct Scorer {
  Judge& judge;
  const std::function<void(const Json&)>& on_item;
  std::vector<Verdict> verdicts;
  size_t next = 0;

  Json task(const Task& task, const TaskAnswers& answers, Json& regions) {
    const bool is_region = task.name == coda::kTasks[1];
    Mean mean;
    Spread spread;
    std::map<std::string, Mean> classes;
    std::vector<std::string> unjudged;
    for (size_t i = 0; i < task.questions.size(); ++i) {
      const Question& question = task.questions[i];
      const bool answered = answers.answers[i].has_value();
      const std::string region_class = is_region ? judge.region_class(question) : "";
      const std::string reason = not_asked(judge, question, answered);
      std::vector<double> scores;
      // A missing answer is worth the lowest score; nobody is asked about it.
      Verdict verdict{std::nullopt, reason, ""};
      if (reason == kMissing) verdict.score = judge.lowest();
      for (int64_t repeat = 0; repeat < judge.repeats(); ++repeat) {
        if (reason.empty()) verdict = std::move(verdicts.at(next++));
        if (verdict.score) scores.push_back(*verdict.score);
        if (on_item) {
          on_item(
              item_row(question, region_class, answers.answers[i], judge.name(), repeat, verdict));
        }
      }
      if (scores.empty()) {
        unjudged.push_back(str(item_name(question), ": ", verdict.reason));
        continue;
      }
      double score = 0;
      for (const double s : scores) score += s / static_cast<double>(scores.size());
      if (answered) spread.add(scores, score);
      mean.add(score, answered);
      if (is_region) classes[region_class].add(score, answered);
    }
    if (!unjudged.empty()) {
      log::warn(task.name, ": ", unjudged.size(), " not judged, first: ", unjudged.front());
    }
    for (const auto& [name, m] : classes) {
      regions[name] = {
          {"official", m.official_mean()}, {"strict", m.strict_mean()}, {"count", m.strict}};
    }
    Json out = {{"official", mean.official_mean()},  {"strict", mean.strict_mean()},
                {"count", task.questions.size()},    {"judged", mean.official},
                {"missing", answers.missing.size()}, {"unjudged", unjudged.size()},
                {"empty", answers.empty.size()},     {"duplicate", answers.duplicate.size()},
                {"unknown", answers.unknown.size()}};
    if (judge.repeats() > 1) out["repeat_deviation"] = spread.deviation();
    out["lists"] = {{"missing", first_of(answers.missing)},
                    {"unjudged", first_of(unjudged)},
                    {"empty", first_of(answers.empty)},
                    {"duplicate", first_of(answers.duplicate)},
                    {"unknown", first_of(answers.unknown)}};
    return out;
  }
};

Json mean_of_tasks(const Json& tasks, const char* key) {
  double sum = 0;
  for (const auto& [name, task] : tasks.items()) {
    if (task[key].is_null()) return nullptr;
    sum += task[key].get<double>();
  }
  return sum / static_cast<double>(tasks.size());
}

}  // namespace

Tasks load_tasks(const std::filesystem::path& root, const std::string& split) {
  auto questions = load_all_questions(root, split);
  Tasks tasks;
  for (size_t t = 0; t < 3; ++t) tasks[t] = {coda::kTasks[t], std::move(questions[t])};
  return tasks;
}

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

std::vector<JudgeRequest> judge_requests(const Judge& judge, const Tasks& tasks,
                                         const Answers& answers) {
  std::vector<JudgeRequest> requests;
  for (size_t t = 0; t < 3; ++t) {
    for (size_t i = 0; i < tasks[t].questions.size(); ++i) {
      const auto& answer = answers[t].answers[i];
      if (!not_asked(judge, tasks[t].questions[i], answer.has_value()).empty()) continue;
      for (int64_t repeat = 0; repeat < judge.repeats(); ++repeat) {
        requests.push_back({tasks[t].questions[i], *answer, repeat});
      }
    }
  }
  return requests;
}

Json rate_items(Judge& judge, const Tasks& tasks, const Answers& answers,
                const std::function<void(const Json&)>& on_item) {
  Scorer scorer{judge, on_item, judge.rate_all(judge_requests(judge, tasks, answers))};
  Json out = {{"tasks", Json::object()}, {"regions", Json::object()}};
  for (size_t t = 0; t < 3; ++t) {
    out["tasks"][tasks[t].name] = scorer.task(tasks[t], answers[t], out["regions"]);
  }
  out["final"] = mean_of_tasks(out["tasks"], "official");
  out["final_strict"] = mean_of_tasks(out["tasks"], "strict");
  out.update(judge.details());
  return out;
}

}  // namespace mose::eval
