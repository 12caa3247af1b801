#include "mose/eval/batch.h"

#include <cmath>
#include <map>

#include "eval/score_judges.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

constexpr double kGuessedReply = 200;  // tokens
constexpr size_t kListed = 50;

// The judges "openai" of a score with the requests of each.
struct Planned {
  Tasks tasks;
  Answers answers;
  std::vector<std::unique_ptr<OpenAiJudge>> judges;

  explicit Planned(const ScoreOptions& options)
      : tasks(load_tasks(options.root, options.split)),
        answers(load_all_answers(options.answers, tasks)),
        judges(make_openai_judges(options)) {}
};

OpenAiJudge& only_judge(Planned& planned) {
  if (planned.judges.size() != 1) {
    throw UsageError(str("--model: a batch is for one model, found ", planned.judges.size()));
  }
  return *planned.judges.front();
}

fs::path numbered(const fs::path& out, size_t file) {
  if (file == 0) return out;
  fs::path name = out.stem();
  name += str(".", file + 1);
  name += out.extension();
  return out.parent_path() / name;
}

struct Replies {
  OpenAiJudge& judge;
  std::map<std::string, JudgeRequest> requests;
  int64_t stored = 0, known = 0, unreadable = 0, failed = 0, unknown = 0;
  std::vector<std::string> problems;

  void problem(int64_t& count, const std::string& what) {
    ++count;
    if (problems.size() < kListed) problems.push_back(what);
  }

  void line(const Json& row, const std::string& where) {
    const std::string id = json_string(row, "custom_id", where);
    const auto it = requests.find(id);
    if (it == requests.end()) {
      return problem(unknown,
                     str(where, ": ", id, ": no request of this set, answers, model and protocol"));
    }
    if (judge.cached(id)) return void(++known);
    const std::string item = item_name(it->second.question);
    const Json response = row.value("response", Json());
    if (!response.is_object()) {
      return problem(failed, str(where, ": ", item, ": ", row.value("error", Json()).dump()));
    }
    const int64_t status = json_int(response, "status_code", where);
    std::string why;
    const auto completion = parse_completion(json_at(response, "body", where).dump(), why);
    if (status != 200 || !completion) {
      return problem(failed, str(where, ": ", item, ": HTTP ", status, ": ", why));
    }
    if (!judge.accept(it->second, *completion).score) ++unreadable;
    ++stored;
  }
};

}  // namespace

Json plan_score(const ScoreOptions& options, const fs::path& tokenizer) {
  ScoreOptions reading = options;
  if (!fs::exists(options.cache)) reading.cache = ":memory:";  // a plan writes nothing
  Planned planned(reading);
  const TokenCounter counter(tokenizer);
  Json models = Json::object();
  int64_t all = 0;
  for (const auto& judge : planned.judges) {
    int64_t from_cache = 0, requests = 0, prompt_tokens = 0;
    for (const JudgeRequest& request : judge_requests(*judge, planned.tasks, planned.answers)) {
      if (judge->cached(judge->key(request))) {
        ++from_cache;
        continue;
      }
      ++requests;
      prompt_tokens +=
          counter.count_messages(judge_messages(judge->protocol().task(request.question.task),
                                                request.question.reference, request.prediction));
    }
    const auto mean = judge->cache().mean_completion_tokens(judge->model());
    const double completion_tokens = static_cast<double>(requests) * mean.value_or(kGuessedReply);
    const auto prices = judge->prices();
    models[judge->model()] = {
        {"requests", requests},
        {"from_cache", from_cache},
        {"prompt_tokens", prompt_tokens},
        {"completion_tokens", std::llround(completion_tokens)},
        {"cost", prices ? prices->cost(judge->model(), static_cast<double>(prompt_tokens),
                                       completion_tokens)
                        : Json()},
        {"currency", prices ? Json(prices->currency) : Json()}};
    all += requests;
  }
  return {{"requests", all},
          {"models", models},
          {"tokens", str("Prompt tokens ", counter.how(),
                         "; completion tokens are the mean of a model's "
                         "verdicts in the cache, or ",
                         kGuessedReply, " each.")}};
}

std::string plan_table(const Json& plan) {
  std::string out =
      "| judge | requests | in the cache | prompt tokens | completion tokens | cost |\n"
      "|---|---:|---:|---:|---:|---:|\n";
  for (const auto& [model, p] : plan["models"].items()) {
    const std::string cost = p["cost"].is_null() ? "no price"
                                                 : str(fixed(p["cost"].get<double>(), 2), " ",
                                                       p["currency"].get<std::string>());
    out +=
        str("| ", model, " | ", p["requests"].dump(), " | ", p["from_cache"].dump(), " | ",
            p["prompt_tokens"].dump(), " | ", p["completion_tokens"].dump(), " | ", cost, " |\n");
  }
  return out + "\n" + plan["tokens"].get<std::string>() + "\n";
}

Json write_batch(const ScoreOptions& options, const fs::path& out, int64_t limit) {
  Planned planned(options);
  OpenAiJudge& judge = only_judge(planned);
  std::vector<std::string> names;
  std::unique_ptr<AtomicFile> file;
  int64_t requests = 0, from_cache = 0;
  for (const JudgeRequest& request : judge_requests(judge, planned.tasks, planned.answers)) {
    const std::string key = judge.key(request);
    if (judge.cached(key)) {
      ++from_cache;
      continue;
    }
    if (!file || (limit > 0 && requests % limit == 0)) {
      if (file) file->commit();
      names.push_back(numbered(out, names.size()).string());
      file = std::make_unique<AtomicFile>(names.back());
    }
    // The body is JSON text already, in the very form that is sent one by one.
    file->write(str(R"({"custom_id":")", key,
                    R"(","method":"POST","url":"/v1/chat/completions","body":)",
                    judge.body(request), "}\n"));
    ++requests;
  }
  if (file) file->commit();
  return {{"requests", requests}, {"from_cache", from_cache}, {"files", names}};
}

Json read_batch(const ScoreOptions& options, const std::vector<fs::path>& files) {
  Planned planned(options);
  OpenAiJudge& judge = only_judge(planned);
  Replies replies{judge, {}};
  for (const JudgeRequest& request : judge_requests(judge, planned.tasks, planned.answers)) {
    replies.requests.emplace(judge.key(request), request);
  }
  for (const fs::path& file : files) {
    for_each_line(file, [&](const std::string& text, int64_t line) {
      const std::string where = str(file.string(), ":", line);
      replies.line(parse_json(text, where), where);
    });
  }
  int64_t pending = 0;
  for (const auto& [key, request] : replies.requests) pending += !judge.cached(key);
  return {{"stored", replies.stored},         {"known", replies.known},
          {"unreadable", replies.unreadable}, {"failed", replies.failed},
          {"unknown", replies.unknown},       {"pending", pending},
          {"problems", replies.problems}};
}

}  // namespace mose::eval
