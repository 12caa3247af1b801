// The items of the three tasks, their answers, and one judge's scores of them.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/judge.h"
#include "mose/eval/questions.h"

namespace mose::eval {

struct Task {
  std::string name;
  std::vector<Question> questions;
};
using Tasks = std::array<Task, 3>;
using Answers = std::array<TaskAnswers, 3>;

Tasks load_tasks(const std::filesystem::path& root, const std::string& split);
// Warns of what is missing, empty, duplicate or unknown.
Answers load_all_answers(const std::filesystem::path& dir, const Tasks& tasks);
std::string answer_or_empty(const TaskAnswers& answers, size_t i);

// What the judge is asked: one request an answered item that can be judged, and repeat.
std::vector<JudgeRequest> judge_requests(const Judge& judge, const Tasks& tasks,
                                         const Answers& answers);

// {"tasks", "regions", "final", "final_strict"} as in score.h; calls `on_item` with each row of
// items.jsonl.
Json rate_items(Judge& judge, const Tasks& tasks, const Answers& answers,
                const std::function<void(const Json&)>& on_item);

}  // namespace mose::eval
