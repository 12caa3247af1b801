// A language model as judge, behind any address that speaks OpenAI's chat completion protocol:
// hosted ones, vLLM, llama.cpp, SGLang. Verdicts go through a VerdictCache; what is in it is not
// asked again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mose/eval/cost.h"
#include "mose/eval/judge.h"
#include "mose/eval/protocol.h"
#include "mose/eval/verdict_cache.h"

namespace mose::eval {

struct OpenAiOptions {
  std::string base_url = "https://api.openai.com/v1";  // requests go to base_url/chat/completions
  std::string key;        // sent as "Authorization: Bearer"; "" sends none. Never written anywhere.
  std::string ca_file;    // certificates to trust instead of the system's
  int64_t parallel = 16;  // requests on their way at once
  double requests_per_minute = 0;  // 0: no limit
  int64_t attempts = 7;            // of one request, before its item counts as unjudged
  double timeout = 120;            // seconds for one request
  double retry_delay = 1;         // seconds before the second attempt; doubles from there, up to 60
  bool retry_unreadable = false;  // ask again what the cache holds an unreadable reply to
};

// The key: the first line of `file`, else the variable `name` of the environment, or "" when that
// is not set and `required` is false. UsageError, which does not show the key, when there is none
// or it cannot be sent in a header.
std::string read_judge_key(const std::filesystem::path& file, const std::string& name,
                           bool required);

// `url` without a slash at its end. UsageError unless it is http:// or https:// with a host and
// without user, query or fragment.
std::string check_base_url(const std::string& url);
// True for http:// to another machine.
bool sends_in_the_open(const std::string& url);

// What a chat completion says.
struct Completion {
  std::string text;
  int64_t prompt_tokens = 0, completion_tokens = 0;
};
// Nothing, with the reason in `problem`, when the body is no completion.
std::optional<Completion> parse_completion(const std::string& body, std::string& problem);

class OpenAiJudge : public Judge {
 public:
  OpenAiJudge(OpenAiOptions server, std::string model, std::shared_ptr<const Protocol> protocol,
              std::shared_ptr<VerdictCache> cache, std::shared_ptr<const Prices> prices,
              int64_t repeats);

  std::string name() const override { return "openai:" + model_; }
  std::string comparability() const override;
  bool comparable() const override;
  double lowest() const override { return protocol_->score(protocol_->low); }
  int64_t repeats() const override { return repeats_; }
  std::string unjudgeable(const Question& question) const override;
  std::string region_class(const Question& question) const override {
    return protocol_->region_class(question.category);
  }
  Json details() const override;

  Verdict rate(const JudgeRequest& request) override { return rate_all({request}).front(); }
  // Sends what the cache lacks. An item whose attempts all failed comes back unjudged with the
  // reason, and is not cached. Throws
  //   Interrupted  after SIGINT or SIGTERM, once the replies on their way are in the cache
  //   Error        when no request can succeed: key, model or certificate are refused, ten items in
  //                a row failed, or all of them
  std::vector<Verdict> rate_all(const std::vector<JudgeRequest>& requests) override;

  // What a request needs when it does not go through rate_all (a batch, an estimate).
  const std::string& model() const { return model_; }
  const Protocol& protocol() const { return *protocol_; }
  const VerdictCache& cache() const { return *cache_; }
  const Prices* prices() const { return prices_.get(); }  // null: money is not counted
  std::string key(const JudgeRequest& request) const;
  virtual std::string body(const JudgeRequest& request) const;
  // The score that a reply gives, 0 to 100; nothing when it cannot be read, which `unreadable` then says.
  virtual std::optional<double> read(const JudgeRequest& request, const std::string& reply) const;
  virtual std::string unreadable() const;
  // The verdict in the cache; nothing when it is to be asked for.
  std::optional<StoredVerdict> cached(const std::string& key) const;
  // Reads the rating in a reply and stores it, readable or not.
  StoredVerdict accept(const JudgeRequest& request, const Completion& completion);

 private:
  friend class JudgeRun;
  struct Spent {
    int64_t requests = 0, failed = 0, verdicts = 0, from_cache = 0;
    int64_t prompt_tokens = 0, completion_tokens = 0;          // of all verdicts
    int64_t run_prompt_tokens = 0, run_completion_tokens = 0;  // of this run's requests
  };
  Verdict verdict_of(const StoredVerdict& stored) const;

  OpenAiOptions server_;
  std::string model_;
  std::shared_ptr<const Protocol> protocol_;
  std::shared_ptr<VerdictCache> cache_;
  std::shared_ptr<const Prices> prices_;
  int64_t repeats_;
  Spent spent_;
};

}  // namespace mose::eval
