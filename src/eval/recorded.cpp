#include "mose/eval/recorded.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/eval/protocol.h"

namespace mose::eval {
namespace {

constexpr double kLow = 1, kHigh = 10;

struct Recorded {
  Verdict verdict;
  std::optional<std::string> prediction;
};
using Key = std::tuple<std::string, std::string, std::string, int64_t>;  // task, id, region, repeat

class RecordedJudge final : public Judge {
 public:
  RecordedJudge(std::string name, std::string file)
      : name_(std::move(name)), file_(std::move(file)) {}

  void add(const Key& key, Recorded row, const std::string& where) {
    if (!rows_.emplace(key, std::move(row)).second) {
      throw DataError(str(where, ": a second verdict of ", name_, " on this item and repeat"));
    }
    repeats_ = std::max(repeats_, std::get<3>(key) + 1);
    if (!rows_.at(key).verdict.reply.empty()) has_replies_ = true;
  }

  std::string name() const override { return "recorded:" + name_; }
  std::string comparability() const override {
    return str(
        "Not comparable with published CODA-LM scores as it stands: these are verdicts of \"",
        name_, "\" replayed from ", file_, "; whether they compare depends on how they were made.");
  }
  // Judges with words of their own rate from 1 to 10.
  double lowest() const override { return has_replies_ ? 10 * kLow : 0; }
  int64_t repeats() const override { return repeats_; }

  Verdict rate(const JudgeRequest& request) override {
    const Question& q = request.question;
    const auto it = rows_.find({q.task, q.id, q.region, request.repeat});
    if (it == rows_.end()) return {std::nullopt, "not in the recording", ""};
    if (it->second.prediction && *it->second.prediction != request.prediction) {
      return {std::nullopt, "the recording judged another answer", ""};
    }
    return it->second.verdict;
  }

  Json details() const override { return {{"recording", file_}, {"repeats", repeats_}}; }

 private:
  std::string name_, file_;
  std::map<Key, Recorded> rows_;
  int64_t repeats_ = 1;
  bool has_replies_ = false;
};

// null and absent are alike.
std::optional<std::string> optional_string(const Json& row, const char* key,
                                           const std::string& where) {
  if (!row.contains(key) || row[key].is_null()) return {};
  return json_string(row, key, where);
}

Recorded read_row(const Json& row, const std::string& where) {
  Recorded out;
  out.prediction = optional_string(row, "prediction", where);
  out.verdict.reply = optional_string(row, "reply", where).value_or("");
  out.verdict.reason = optional_string(row, "reason", where).value_or("");
  if (row.contains("score") && !row["score"].is_null()) {
    const double score = json_number(row, "score", where);
    if (!(score >= 0 && score <= 100)) {
      throw DataError(str(where, ": field \"score\": expected 0 to 100, found ", score));
    }
    out.verdict.score = score;
  } else if (const auto rating = read_rating(out.verdict.reply, kLow, kHigh)) {
    out.verdict.score = 10 * *rating;
  } else if (out.verdict.reason.empty()) {
    out.verdict.reason = "the recording holds neither a score nor a readable rating";
  }
  return out;
}

}  // namespace

std::vector<std::unique_ptr<Judge>> load_recording(const std::filesystem::path& file) {
  std::vector<std::unique_ptr<RecordedJudge>> judges;
  for_each_line(file, [&](const std::string& text, int64_t line) {
    if (trim(text).empty()) return;
    const std::string where = str(file.string(), ":", line);
    const Json row = parse_json(text, where);
    const std::string task = json_string(row, "task", where);
    if (std::find(std::begin(coda::kTasks), std::end(coda::kTasks), task) ==
        std::end(coda::kTasks)) {
      throw DataError(str(where, ": field \"task\": expected ", coda::kTasks[0], ", ",
                          coda::kTasks[1], " or ", coda::kTasks[2], ", found \"", task, "\""));
    }
    const std::string judge = json_string(row, "judge", where);
    if (row.contains("prediction") && row["prediction"].is_null()) return;
    const int64_t repeat = row.contains("repeat") ? json_int(row, "repeat", where) : 0;
    if (repeat < 0 || repeat > 1000) {
      throw DataError(str(where, ": field \"repeat\": expected 0 to 1000, found ", repeat));
    }
    auto it = std::find_if(judges.begin(), judges.end(),
                           [&](const auto& j) { return j->name() == "recorded:" + judge; });
    if (it == judges.end()) {
      judges.push_back(std::make_unique<RecordedJudge>(judge, file.filename().string()));
      it = judges.end() - 1;
    }
    const std::string region = optional_string(row, "region", where).value_or("");
    (*it)->add({task, json_string(row, "id", where), region, repeat}, read_row(row, where), where);
  });
  if (judges.empty()) throw DataError(str(file.string(), ": holds no verdict"));
  return {std::make_move_iterator(judges.begin()), std::make_move_iterator(judges.end())};
}

}  // namespace mose::eval
