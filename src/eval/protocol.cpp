#include "mose/eval/protocol.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFormat = "mose-protocol-1";
// protocol_hash of what github.com/DLUT-LYZ/CODA-LM holds at commit 24544cc.
constexpr const char* kPublishedHash =
    "685f4a13e58ead0ec55a498f434344cea362b11f91cd81dd2253a2a7590bf0e3";

const std::string kReference = "{reference}", kPrediction = "{prediction}";

void check_form(const std::string& form, const std::string& where) {
  for (const std::string& mark : {kReference, kPrediction}) {
    const size_t at = form.find(mark);
    if (at == std::string::npos || form.find(mark, at + 1) != std::string::npos) {
      throw DataError(str(where, ": field \"form\": expected ", mark, " once, found it ",
                          at == std::string::npos ? "nowhere" : "again"));
    }
  }
}

// One pass, so that braces in a reference stay what they are.
std::string fill(const std::string& form, const std::string& reference,
                 const std::string& prediction) {
  const size_t r = form.find(kReference), p = form.find(kPrediction);
  const auto [first, second] = std::minmax(r, p);
  const std::string& early = r < p ? reference : prediction;
  const std::string& late = r < p ? prediction : reference;
  const size_t first_end = first + (r < p ? kReference : kPrediction).size();
  const size_t second_end = second + (r < p ? kPrediction : kReference).size();
  return form.substr(0, first) + early + form.substr(first_end, second - first_end) + late +
         form.substr(second_end);
}

Json task_json(const TaskProtocol& task) {
  Json examples = Json::array();
  for (const JudgeExample& e : task.examples) {
    examples.push_back(
        {{"reference", e.reference}, {"prediction", e.prediction}, {"response", e.response}});
  }
  return {{"system", task.system}, {"form", task.form}, {"examples", examples}};
}

// What shapes a score, in one fixed order of keys.
Json content(const Protocol& p) {
  Json tasks = Json::object();
  for (size_t t = 0; t < 3; ++t) tasks[coda::kTasks[t]] = task_json(p.tasks[t]);
  return {{"tasks", tasks},
          {"categories", p.categories},
          {"scale", {p.low, p.high}},
          {"request", p.request}};
}

TaskProtocol parse_task(const Json& json, const std::string& where) {
  TaskProtocol task;
  task.system = json_string(json, "system", where);
  task.form = json_string(json, "form", where);
  check_form(task.form, where);
  const Json& examples = json_array(json, "examples", where);
  for (size_t i = 0; i < examples.size(); ++i) {
    const std::string here = str(where, ".examples[", i, "]");
    task.examples.push_back({json_string(examples[i], "reference", here),
                             json_string(examples[i], "prediction", here),
                             json_string(examples[i], "response", here)});
  }
  return task;
}

void parse_categories(const Json& json, const std::string& where, Protocol& protocol) {
  for (const auto& [name, list] : json.items()) {
    json_array(json, name, where);
    for (const Json& category : list) {
      if (!category.is_string()) {
        throw DataError(
            str(where, ".", name, ": expected category names, found ", category.type_name()));
      }
      protocol.categories[name].push_back(category.get<std::string>());
    }
  }
}

void parse_scale(const Json& scale, const std::string& where, Protocol& protocol) {
  const bool good = scale.size() == 2 && scale[0].is_number() && scale[1].is_number() &&
                    scale[0].get<double>() >= 0 && scale[0] < scale[1] &&
                    scale[1].get<double>() <= 10;
  if (!good) {
    throw DataError(str(where,
                        ": field \"scale\": expected [lowest, highest] within 0 to 10, found ",
                        scale.dump()));
  }
  protocol.low = scale[0].get<double>();
  protocol.high = scale[1].get<double>();
}

std::string normal(const std::string& category) {
  return replace_all(to_lower(trim(category)), " ", "_");
}

// The number that `text` holds and nothing else, blanks aside.
std::optional<double> number(const std::string& text) {
  const std::string digits = trim(text);
  if (digits.empty() || digits.find_first_not_of("0123456789.+-") != std::string::npos) return {};
  char* end = nullptr;
  const double value = std::strtod(digits.c_str(), &end);
  if (end != digits.c_str() + digits.size() || !std::isfinite(value)) return {};
  return value;
}

}  // namespace

const TaskProtocol& Protocol::task(const std::string& task_name) const {
  const auto* it = std::find(std::begin(coda::kTasks), std::end(coda::kTasks), task_name);
  if (it == std::end(coda::kTasks)) throw UsageError(str("unknown task \"", task_name, "\""));
  return tasks[static_cast<size_t>(it - std::begin(coda::kTasks))];
}

std::string Protocol::region_class(const std::string& category) const {
  const std::string wanted = normal(category), prefix = "traffic_";
  for (const auto& [name, members] : categories) {
    for (const std::string& member : members) {
      if (normal(member) != wanted) continue;
      return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
    }
  }
  return "";
}

std::string protocol_hash(const Protocol& protocol) {
  return sha256(content(protocol).dump());
}

bool is_published(const Protocol& protocol) {
  return protocol.sha256 == kPublishedHash;
}

Protocol load_protocol(const fs::path& file) {
  const std::string where = file.string();
  const Json json = load_json(file);
  const std::string format = json_string(json, "format", where);
  if (format != kFormat) {
    throw DataError(
        str(where, ": field \"format\": expected \"", kFormat, "\", found \"", format, "\""));
  }
  Protocol protocol;
  protocol.name = json_string(json, "name", where);
  if (json.contains("source")) protocol.source = json_string(json, "source", where);
  const Json& tasks = json_object(json, "tasks", where);
  for (size_t t = 0; t < 3; ++t) {
    const char* name = coda::kTasks[t];
    protocol.tasks[t] =
        parse_task(json_object(tasks, name, str(where, ": tasks")), str(where, ": tasks.", name));
  }
  parse_categories(json_object(json, "categories", where), str(where, ": categories"), protocol);
  parse_scale(json_array(json, "scale", where), where, protocol);
  protocol.request = json_object(json, "request", where);
  for (const char* taken : {"messages", "model", "stream", "n"}) {
    if (protocol.request.contains(taken)) {
      throw DataError(str(where, ": request: \"", taken, "\" is not a protocol's to set"));
    }
  }
  if (json.contains("files")) protocol.files = json_object(json, "files", where);
  protocol.sha256 = protocol_hash(protocol);
  if (json.contains("sha256")) {
    const std::string pinned = json_string(json, "sha256", where);
    if (pinned != protocol.sha256) {
      throw DataError(str(where,
                          ": field \"sha256\": the content was changed after it was pinned: "
                          "expected ",
                          pinned, ", found ", protocol.sha256,
                          "; import it again, or remove the field to use it as a draft"));
    }
  }
  return protocol;
}

Json to_json(const Protocol& protocol) {
  Json json = {{"format", kFormat}, {"name", protocol.name}, {"source", protocol.source}};
  json.update(content(protocol));
  json["files"] = protocol.files;
  json["sha256"] = protocol_hash(protocol);
  return json;
}

fs::path default_protocol() {
  return resource("protocols/mose.json");
}

std::string protocol_text(const Protocol& p) {
  std::string out =
      str("protocol ", p.name, is_published(p) ? " (as CODA-LM published it)" : "", "\n");
  if (!p.source.empty()) out += str("source   ", p.source, "\n");
  out += str("sha256   ", p.sha256, "\nratings  ", p.low, " to ", p.high, "\nrequest  ",
             p.request.dump(), "\n");
  for (const auto& [name, hash] : p.files.items())
    out += str("file     ", hash.get<std::string>(), " ", name, "\n");
  for (const auto& [name, members] : p.categories) {
    out += str("class    ", name, ": ", join(members, ", "), "\n");
  }
  for (size_t t = 0; t < 3; ++t) {
    for (const Json& message : judge_messages(p.tasks[t], kReference, kPrediction)) {
      out += str("\n--- ", coda::kTasks[t], ": ", message["role"].get<std::string>(), "\n",
                 message["content"].get<std::string>(), "\n");
    }
  }
  return out;
}

Json judge_messages(const TaskProtocol& task, const std::string& reference,
                    const std::string& prediction) {
  const auto message = [](const char* role, const std::string& text) {
    return Json{{"role", role}, {"content", text}};
  };
  Json messages = Json::array({message("system", task.system)});
  for (const JudgeExample& e : task.examples) {
    messages.push_back(message("user", fill(task.form, e.reference, e.prediction)));
    messages.push_back(message("assistant", e.response));
  }
  messages.push_back(message("user", fill(task.form, reference, prediction)));
  return messages;
}

std::string request_body(const Protocol& protocol, const std::string& model,
                         const Question& question, const std::string& prediction) {
  Json body = {
      {"model", model},
      {"messages", judge_messages(protocol.task(question.task), question.reference, prediction)}};
  body.update(protocol.request);
  return body.dump();
}

std::optional<double> read_rating(const std::string& reply, double low, double high) {
  const auto after = [&](const std::string& mark, size_t& from) -> std::optional<double> {
    const size_t at = reply.find(mark, from);
    if (at == std::string::npos) return from = at, std::nullopt;
    from = at + mark.size();
    const size_t end = reply.find("]]", from);
    if (end == std::string::npos) return std::nullopt;  // cut off: [[1 may have become [[10]]
    return number(reply.substr(from, end - from));
  };
  for (const char* mark : {"Rating: [[", "rating is: [[", "[["}) {
    const bool any = std::string_view(mark) == "[[";
    for (size_t from = 0; from != std::string::npos;) {
      const auto rating = after(mark, from);
      if (rating) {
        if (*rating < low || *rating > high) return std::nullopt;
        return rating;
      }
      if (!any) break;  // the scripts look at the first of these alone
    }
  }
  return std::nullopt;
}

}  // namespace mose::eval
