#include "mose/eval/openai.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::eval {

std::string read_judge_key(const std::filesystem::path& file, const std::string& name,
                           bool required) {
  std::string key, where;
  if (!file.empty()) {
    where = "--key-file " + file.string();
    const std::string content = read_file(file);
    key = trim(content.substr(0, content.find('\n')));
  } else {
    where = "the environment variable " + name;
    const char* value = std::getenv(name.c_str());
    key = value ? trim(value) : "";
    if (key.empty() && !required) return "";
  }
  if (key.empty()) throw UsageError(str(where, ": expected the judge's key, found nothing"));
  const auto printable = [](char c) { return c > ' ' && c < 127; };
  if (!std::all_of(key.begin(), key.end(), printable)) {
    throw UsageError(str(
        where, ": expected a key of printable ASCII characters without blanks, found ", "others"));
  }
  return key;
}

namespace {

using Url = std::unique_ptr<CURLU, void (*)(CURLU*)>;

std::string part_of(const Url& url, CURLUPart which) {
  char* text = nullptr;
  std::string out;
  if (curl_url_get(url.get(), which, &text, 0) == CURLUE_OK) out = text;
  curl_free(text);
  return out;
}

}  // namespace

std::string check_base_url(const std::string& url) {
  const Url parsed(curl_url(), curl_url_cleanup);
  const auto refuse = [&url](const std::string& why) {
    // What stands before an @ may be a password.
    const size_t at = url.rfind('@');
    throw UsageError(
        str("--base-url ", at == std::string::npos ? url : "...@" + url.substr(at + 1), ": ", why));
  };
  const CURLUcode code = curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0);
  if (code != CURLUE_OK) {
    refuse(str("expected an address such as http://127.0.0.1:8000/v1, found ",
               curl_url_strerror(code)));
  }
  const std::string scheme = part_of(parsed, CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") refuse("expected http:// or https://");
  if (!part_of(parsed, CURLUPART_USER).empty() || !part_of(parsed, CURLUPART_PASSWORD).empty()) {
    refuse("expected no user or password; a key belongs into --key-env or --key-file");
  }
  if (!part_of(parsed, CURLUPART_QUERY).empty() || !part_of(parsed, CURLUPART_FRAGMENT).empty()) {
    refuse("expected no query and no fragment");
  }
  return url.substr(0, url.find_last_not_of('/') + 1);
}

bool sends_in_the_open(const std::string& url) {
  const Url parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return false;
  const std::string host = part_of(parsed, CURLUPART_HOST);
  const bool here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
  return part_of(parsed, CURLUPART_SCHEME) == "http" && !here;
}

std::optional<Completion> parse_completion(const std::string& body, std::string& problem) {
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) {
    problem = "the reply is not JSON";
    return {};
  }
  if (json.contains("error") && json["error"].is_object()) {
    const Json& message = json["error"].value("message", Json());
    problem = message.is_string() ? message.get<std::string>() : json["error"].dump();
    return {};
  }
  const auto text = Json::json_pointer("/choices/0/message/content");
  if (!json.contains(text) || !(json[text].is_string() || json[text].is_null())) {
    problem = "the reply holds no choices[0].message.content";
    return {};
  }
  Completion out;
  if (json[text].is_string()) out.text = json[text];
  const auto tokens = [&json](const char* key) -> int64_t {
    const auto at = Json::json_pointer(str("/usage/", key));
    return json.contains(at) && json[at].is_number_integer() ? std::max<int64_t>(0, json[at]) : 0;
  };
  out.prompt_tokens = tokens("prompt_tokens");
  out.completion_tokens = tokens("completion_tokens");
  return out;
}

OpenAiJudge::OpenAiJudge(OpenAiOptions server, std::string model,
                         std::shared_ptr<const Protocol> protocol,
                         std::shared_ptr<VerdictCache> cache, std::shared_ptr<const Prices> prices,
                         int64_t repeats)
    : server_(std::move(server)),
      model_(std::move(model)),
      protocol_(std::move(protocol)),
      cache_(std::move(cache)),
      prices_(std::move(prices)),
      repeats_(repeats) {
  if (model_.empty()) throw UsageError("--model: expected the judge's name, found nothing");
}

bool OpenAiJudge::comparable() const {
  return is_published(*protocol_) && model_ == kPublishedJudge;
}

std::string OpenAiJudge::comparability() const {
  const std::string pinned = str("sha256 ", protocol_->sha256.substr(0, 12));
  if (comparable()) {
    return str("Comparable with published CODA-LM scores that ", kPublishedJudge,
               " gave: protocol (", pinned, ") and judge are those of CODA-LM's own scripts.");
  }
  const std::string protocol =
      is_published(*protocol_)
          ? str("the protocol (", pinned, ") is that of CODA-LM's own scripts, but they name ",
                kPublishedJudge, " as judge")
          : str("they were given under the protocol \"", protocol_->name, "\" (", pinned, ")");
  return str("Not comparable with published CODA-LM scores: the judge is ", model_, ", and ",
             protocol, ". Comparable with scores by the same judge and protocol.");
}

std::string OpenAiJudge::unjudgeable(const Question& question) const {
  return trim(question.reference).empty() ? "no reference answer" : "";
}

std::string OpenAiJudge::key(const JudgeRequest& request) const {
  return verdict_key(model_, protocol_->sha256, request);
}

std::string OpenAiJudge::body(const JudgeRequest& request) const {
  return request_body(*protocol_, model_, request.question, request.prediction);
}

std::optional<StoredVerdict> OpenAiJudge::cached(const std::string& key) const {
  auto found = cache_->find(key);
  if (found && !found->score && server_.retry_unreadable) return {};
  return found;
}

StoredVerdict OpenAiJudge::accept(const JudgeRequest& request, const Completion& completion) {
  StoredVerdict verdict{std::nullopt, completion.text, completion.prompt_tokens,
                        completion.completion_tokens};
  verdict.score = read(request, completion.text);
  cache_->store(key(request), model_, protocol_->sha256, request, verdict);
  return verdict;
}

std::optional<double> OpenAiJudge::read(const JudgeRequest&, const std::string& reply) const {
  const auto rating = read_rating(reply, protocol_->low, protocol_->high);
  return rating ? std::optional(protocol_->score(*rating)) : std::nullopt;
}

std::string OpenAiJudge::unreadable() const {
  return str("the judge's reply holds no rating [[n]] from ", protocol_->low, " to ",
             protocol_->high);
}

Verdict OpenAiJudge::verdict_of(const StoredVerdict& stored) const {
  return {stored.score, stored.score ? "" : unreadable(), stored.reply};
}

Json OpenAiJudge::details() const {
  const auto cost = [this](int64_t prompt, int64_t completion) {
    return prices_
               ? prices_->cost(model_, static_cast<double>(prompt), static_cast<double>(completion))
               : Json();
  };
  return {{"model", model_},
          {"base_url", server_.base_url},
          {"protocol",
           {{"name", protocol_->name},
            {"source", protocol_->source},
            {"sha256", protocol_->sha256},
            {"published", is_published(*protocol_)}}},
          {"repeats", repeats_},
          {"spent",
           {{"requests", spent_.requests},
            {"failed_requests", spent_.failed},
            {"verdicts", spent_.verdicts},
            {"from_cache", spent_.from_cache},
            {"prompt_tokens", spent_.prompt_tokens},
            {"completion_tokens", spent_.completion_tokens},
            {"cost", cost(spent_.prompt_tokens, spent_.completion_tokens)},
            {"run_prompt_tokens", spent_.run_prompt_tokens},
            {"run_completion_tokens", spent_.run_completion_tokens},
            {"run_cost", cost(spent_.run_prompt_tokens, spent_.run_completion_tokens)},
            {"currency", prices_ ? Json(prices_->currency) : Json()}}}};
}

}  // namespace mose::eval
