// OpenAiJudge::rate_all: what the cache lacks, sent in parallel under a rate limit, with retries.
#include <algorithm>
#include <chrono>
#include <deque>
#include <map>

#include "eval/chat_client.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"
#include "mose/core/random.h"
#include "mose/core/signals.h"
#include "mose/core/strings.h"
#include "mose/eval/openai.h"
#include "mose/eval/rate_limit.h"

namespace mose::eval {
namespace {

constexpr int kReadings = 3;  // how often an item is asked for a readable rating
constexpr int kFailuresInRow = 10;
constexpr double kTick = 0.2;  // seconds between looks at signals

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

// What an HTTP reply without a completion means for its request.
enum class Failure { kRetry, kItem, kAll };

Failure kind_of(const ChatReply& reply) {
  const bool passing = reply.status == 408 || reply.status == 409 || reply.status == 425 ||
                       reply.status == 429 || reply.status >= 500;
  if (reply.hopeless) return Failure::kAll;
  if (reply.status == 429 && reply.body.find("insufficient_quota") != std::string::npos) {
    return Failure::kAll;
  }
  if (reply.status == 0 || reply.status == 200 || passing) return Failure::kRetry;
  // 400, 413, 422: this request; 401, 403, 404, a redirect: every request.
  return reply.status == 400 || reply.status == 413 || reply.status == 422 ? Failure::kItem
                                                                           : Failure::kAll;
}

}  // namespace

class JudgeRun {
 public:
  JudgeRun(OpenAiJudge& judge, const std::vector<JudgeRequest>& requests)
      : judge_(judge),
        requests_(requests),
        work_(requests.size()),
        verdicts_(requests.size()),
        client_(judge.server_),
        limit_(judge.server_.requests_per_minute),
        random_(static_cast<uint64_t>(now() * 1e6), "retry delays") {}

  std::vector<Verdict> run() {
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (!take_cached(i)) fresh_.push_back(i);
    }
    const auto total = static_cast<int64_t>(requests_.size());
    const int64_t known = total - static_cast<int64_t>(fresh_.size());
    if (known > 0)
      log::info(judge_.name(), ": ", known, " of ", total, " verdicts are in the cache");
    if (fresh_.empty()) return std::move(verdicts_);
    Progress progress("judging", total, "verdicts", known);
    while (client_.running() > 0 || (!stopping_ && !(fresh_.empty() && again_.empty()))) {
      if (stop_signal() != 0 && !stopping_) {
        stopping_ = true;
        log::warn("stopping: waiting for ", client_.running(),
                  " replies on their way; a second signal leaves at once");
      }
      const double wait = stopping_ ? kTick : start_what_is_due();
      read_replies(client_.poll(std::min(wait, kTick)));
      progress.set(known + done_, note());
    }
    throw_if_stopped();
    if (judge_.spent_.verdicts == 0) {
      throw Error(str("the judge ", judge_.model(), " at ", judge_.server_.base_url,
                      " judged none of ", total, " items; the first: ", verdicts_.front().reason));
    }
    return std::move(verdicts_);
  }

 private:
  // One request's history.
  struct Work {
    int attempts = 0, readings = 0;
    int64_t prompt_tokens = 0, completion_tokens = 0;
  };

  bool take_cached(size_t i) {
    const auto stored = judge_.cached(judge_.key(requests_[i]));
    if (!stored) return false;
    ++judge_.spent_.from_cache;
    take(i, *stored);
    return true;
  }

  void take(size_t i, const StoredVerdict& stored) {
    ++judge_.spent_.verdicts;
    judge_.spent_.prompt_tokens += stored.prompt_tokens;
    judge_.spent_.completion_tokens += stored.completion_tokens;
    verdicts_[i] = judge_.verdict_of(stored);
  }

  // Each reply is stored, then the next request leaves on its connection: never more than
  // `parallel` questions are without a stored answer, and no connection waits for the other
  // replies.
  void read_replies(std::vector<std::pair<size_t, ChatReply>> replies) {
    // Good ones first: a failure may end the run, and they are paid for.
    std::stable_partition(replies.begin(), replies.end(),
                          [](const auto& reply) { return reply.second.status == 200; });
    for (size_t next = 0; next < replies.size(); ++next) {
      unread_ = static_cast<int64_t>(replies.size() - next) - 1;
      take_reply(replies[next].first, replies[next].second);
      if (stopping_) continue;
      start_what_is_due();
      for (auto& more : client_.poll(0)) replies.push_back(std::move(more));
    }
  }

  // Starts all that may be started now; seconds until there may be more.
  double start_what_is_due() {
    while (client_.running() + unread_ < judge_.server_.parallel) {
      const double time = now();
      const bool again = !again_.empty() && again_.begin()->first <= time;
      // A server in trouble is not asked about ever more items while the first ones wait.
      const auto in_hand = client_.running() + static_cast<int64_t>(again_.size());
      const bool fresh = !fresh_.empty() && in_hand < 2 * judge_.server_.parallel;
      if (!again && !fresh) return again_.empty() ? kTick : again_.begin()->first - time;
      if (limit_.next() > time) return limit_.next() - time;
      size_t i = 0;
      if (again) {
        i = again_.begin()->second;
        again_.erase(again_.begin());
      } else {
        i = fresh_.front();
        fresh_.pop_front();
        if (take_cached(i)) {  // another process has asked in the meantime
          ++done_;
          continue;
        }
      }
      limit_.take(time);
      ++work_[i].attempts;
      ++judge_.spent_.requests;
      client_.start(i, judge_.body(requests_[i]));
    }
    return kTick;
  }

  void take_reply(size_t i, const ChatReply& reply) {
    Work& work = work_[i];
    std::string problem = reply.problem;
    std::optional<Completion> completion;
    if (problem.empty()) completion = parse_completion(reply.body, problem);
    if (completion && reply.status != 200) completion.reset();
    if (!completion) return take_failure(i, reply, hide_key(problem));

    completion->text = hide_key(completion->text);
    failures_in_row_ = 0;
    judge_.spent_.run_prompt_tokens += completion->prompt_tokens;
    judge_.spent_.run_completion_tokens += completion->completion_tokens;
    work.prompt_tokens += completion->prompt_tokens;
    work.completion_tokens += completion->completion_tokens;
    const bool readable = judge_.read(requests_[i], completion->text).has_value();
    const int64_t readings = std::min<int64_t>(kReadings, judge_.server_.attempts);
    if (!readable && ++work.readings < readings && !stopping_) {
      ++judge_.spent_.failed;
      return retry(i, 0);
    }
    completion->prompt_tokens = work.prompt_tokens;
    completion->completion_tokens = work.completion_tokens;
    take(i, judge_.accept(requests_[i], *completion));
    ++done_;
  }

  void take_failure(size_t i, const ChatReply& reply, const std::string& problem) {
    ++judge_.spent_.failed;
    const std::string what =
        reply.status == 0 ? problem : str("HTTP ", reply.status, ": ", problem);
    const Failure kind = kind_of(reply);
    if (kind == Failure::kAll) {
      throw Error(str("the judge ", judge_.model(), " at ", judge_.server_.base_url,
                      " refuses every request: ", what));
    }
    if (kind == Failure::kRetry && work_[i].attempts < judge_.server_.attempts) {
      log::debug(item_name(requests_[i].question), ": ", what, "; trying again");
      if (reply.retry_after > 0) limit_.hold_until(now() + reply.retry_after);
      return retry(i, reply.retry_after);
    }
    verdicts_[i].reason = str("no reply after ", work_[i].attempts, " requests: ", what);
    ++done_;
    ++unjudged_;
    if (++failures_in_row_ >= kFailuresInRow) {
      throw Error(str("the judge ", judge_.model(), " at ", judge_.server_.base_url, " failed ",
                      kFailuresInRow, " items in a row, the last one with: ", what,
                      "; verdicts so far are in the cache"));
    }
  }

  void retry(size_t i, double retry_after) {
    const double delay =
        retry_delay(work_[i].attempts, judge_.server_.retry_delay, retry_after, random_.uniform());
    again_.emplace(now() + delay, i);
  }

  // A server may quote the key in what it says of it.
  std::string hide_key(const std::string& text) const {
    const std::string& key = judge_.server_.key;
    return key.empty() ? text : replace_all(text, key, "[key]");
  }

  std::string note() const {
    std::string out = str(client_.running(), " on their way");
    if (judge_.spent_.failed > 0) out += str(", ", judge_.spent_.failed, " failed requests");
    if (unjudged_ > 0) out += str(", ", unjudged_, " items unjudged");
    return out;
  }

  OpenAiJudge& judge_;
  const std::vector<JudgeRequest>& requests_;
  std::vector<Work> work_;
  std::vector<Verdict> verdicts_;
  std::deque<size_t> fresh_;             // requests not sent yet
  std::multimap<double, size_t> again_;  // when a failed one is due -> which
  ChatClient client_;
  RateLimit limit_;
  RandomStream random_;
  int64_t unread_ = 0;  // replies that are here and not stored yet
  int64_t done_ = 0, unjudged_ = 0;
  int failures_in_row_ = 0;
  bool stopping_ = false;
};

std::vector<Verdict> OpenAiJudge::rate_all(const std::vector<JudgeRequest>& requests) {
  return JudgeRun(*this, requests).run();
}

}  // namespace mose::eval
