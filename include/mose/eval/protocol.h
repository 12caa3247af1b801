// The protocol of a language model as judge: what it is told and shown for each task, how its
// rating is read, and to which class a region belongs. A protocol is a file
// (configs/protocols/mose.json is ours), pinned by a hash, so that two scores can be seen to come
// from the same questions.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/questions.h"

namespace mose::eval {

// An item that the judge is shown with its verdict before the item to be judged.
struct JudgeExample {
  std::string reference, prediction, response;
};

struct TaskProtocol {
  std::string system;
  std::string form;  // the judge's question, with {reference} and {prediction} once each
  std::vector<JudgeExample> examples;
};

struct Protocol {
  std::string name, source;           // for readers: "mose", and where it came from
  std::array<TaskProtocol, 3> tasks;  // in the order of coda::kTasks
  std::map<std::string, std::vector<std::string>> categories;  // region class -> category names
  double low = 1, high = 10;                                   // the scale of ratings
  Json request = {{"temperature", 0}};  // fields of a request beside messages and model
  Json files = Json::object();          // SHA-256 of each file it was read from
  std::string sha256;                   // of all that shapes a score: see protocol_hash

  const TaskProtocol& task(const std::string& name) const;
  // A rating on the scale -> 0 to 100: ten times it, as CODA-LM's scores are formed.
  double score(double rating) const { return 10 * rating; }
  // The class of a category, without a leading "traffic_", so that the same seven names stand for
  // the classes in every score; "" for an unknown category. Case and spaces do not matter.
  std::string region_class(const std::string& category) const;
};

// SHA-256 over tasks, categories, scale and request; name, source and files do not count.
std::string protocol_hash(const Protocol& protocol);

// A protocol file. DataError names file and field, and refuses one whose "sha256" is not that of
// its content; a file without "sha256" is a draft and is taken as it is.
Protocol load_protocol(const std::filesystem::path& file);
Json to_json(const Protocol& protocol);
// configs/protocols/mose.json
std::filesystem::path default_protocol();
// All of it for people: what the judge reads for each task, word by word.
std::string protocol_text(const Protocol& protocol);

// Reads system prompts, examples, template, category map and temperature out of the evaluation/
// scripts of a CODA-LM checkout (github.com/DLUT-LYZ/CODA-LM). DataError names the file and what
// was expected there when a script has another form.
Protocol import_protocol(const std::filesystem::path& checkout);

// True for the scripts of that repository as they have been since their release; a checkout that
// was changed gives another hash.
bool is_published(const Protocol& protocol);
// The judge that the repository's evaluation README names.
inline constexpr const char* kPublishedJudge = "gpt-4o-2024-05-13";

// [{"role", "content"}, ...]: system, examples as turns, the question.
Json judge_messages(const TaskProtocol& task, const std::string& reference,
                    const std::string& prediction);
// The body of a chat completion request, one line of JSON: model, messages, then the protocol's
// fields. Its bytes are those that the official scripts send with the openai Python client 3.54
// (other versions write the same object with other blanks, escapes or order of keys).
std::string request_body(const Protocol& protocol, const std::string& model,
                         const Question& question, const std::string& prediction);

// The rating in a judge's reply: the number in the first [[n]] that holds one; after "Rating: " or
// "rating is: " by preference, as the official scripts look for it. Decimals count. Nothing when
// there is none or it lies outside the scale.
std::optional<double> read_rating(const std::string& reply, double low, double high);

}  // namespace mose::eval
