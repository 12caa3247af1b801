#include "mose/core/config.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose {
namespace {

std::string number_text(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return str(static_cast<int64_t>(value));
  return str(value);
}

std::string range_text(double low, double high) {
  if (low == -FieldVisitor::kAny && high == FieldVisitor::kAny) return "";
  if (high == FieldVisitor::kAny) return "at least " + number_text(low);
  if (low == -FieldVisitor::kAny) return "at most " + number_text(high);
  return number_text(low) + " to " + number_text(high);
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60);
}

// Reads fields from JSON, remembering which keys of each object were known.
class Reader : public FieldVisitor {
 public:
  Reader(const Json& root, std::string where) : where_(std::move(where)) { push(&root, ""); }

  void finish() { leave(); }

  void field(const char* name, bool& value, const char*) override {
    if (const Json* j = find(name)) {
      if (!j->is_boolean()) wrong(name, "true or false", *j);
      value = j->get<bool>();
    }
  }
  void field(const char* name, int64_t& value, const char*, double low, double high) override {
    if (const Json* j = find(name)) {
      const bool whole_float = j->is_number_float() && j->get<double>() == std::floor(j->get<double>()) &&
                               std::abs(j->get<double>()) < 9e15;
      const bool too_large = j->is_number_unsigned() && j->get<uint64_t>() > INT64_MAX;
      if ((!j->is_number_integer() && !whole_float) || too_large) wrong(name, "an integer", *j);
      value = whole_float ? static_cast<int64_t>(j->get<double>()) : j->get<int64_t>();
      check(name, static_cast<double>(value), low, high, *j);
    }
  }
  void field(const char* name, double& value, const char*, double low, double high) override {
    if (const Json* j = find(name)) {
      if (!j->is_number()) wrong(name, "a number", *j);
      value = j->get<double>();
      check(name, value, low, high, *j);
    }
  }
  void field(const char* name, std::string& value, const char*,
             const std::vector<std::string>& choices) override {
    if (const Json* j = find(name)) {
      if (!j->is_string()) wrong(name, "a string", *j);
      value = j->get<std::string>();
      if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end()) {
        const std::string near = nearest_name(value, choices);
        throw UsageError(str(where_, ": ", full(name), " = \"", value, "\": expected one of ",
                             join(choices, ", "),
                             near.empty() ? "" : "; did you mean \"" + near + "\"?"));
      }
    }
  }
  void field(const char* name, std::vector<std::string>& value, const char*) override {
    read_vector(name, value, "a list of strings", [](const Json& j) { return j.is_string(); });
  }
  void field(const char* name, std::vector<int64_t>& value, const char*) override {
    read_vector(name, value, "a list of integers", [](const Json& j) {
      return j.is_number_integer() && !(j.is_number_unsigned() && j.get<uint64_t>() > INT64_MAX);
    });
  }
  void field(const char* name, std::vector<double>& value, const char*) override {
    read_vector(name, value, "a list of numbers", [](const Json& j) { return j.is_number(); });
  }
  void field(const char* name, Json& value, const char*) override {
    if (const Json* j = find(name)) value = *j;
  }

 protected:
  bool enter(const char* name, const char*) override {
    const Json* j = find(name);
    if (!j) return false;
    if (!j->is_object()) wrong(name, "an object", *j);
    push(j, name);
    return true;
  }
  bool enter_optional(const char* name, const char*, bool present) override {
    const Json* j = find(name);
    if (!j) {
      if (present) push(&empty_, name);
      return present;
    }
    if (j->is_null()) return false;
    if (!j->is_object()) wrong(name, "an object or null", *j);
    push(j, name);
    return true;
  }
  int64_t enter_list(const char* name, const char*, int64_t) override {
    const Json* j = find(name);
    if (!j) return -1;
    if (!j->is_array()) wrong(name, "a list", *j);
    lists_.push_back({j, name});
    return static_cast<int64_t>(j->size());
  }
  void enter_item(int64_t index) override {
    const auto& [list, name] = lists_.back();
    const Json& item = (*list)[static_cast<size_t>(index)];
    const std::string label = str(name, ".", index);
    if (!item.is_object()) wrong(label.c_str(), "an object", item);
    push(&item, label);
  }
  void leave() override {
    const Frame& frame = frames_.back();
    for (const auto& [key, value] : frame.json->items()) {
      if (std::find(frame.known.begin(), frame.known.end(), key) != frame.known.end()) continue;
      const std::string near = nearest_name(key, frame.known);
      throw UsageError(str(where_, ": unknown key \"", frame.path, key, "\"",
                           near.empty() ? "; known here: " + join(frame.known, ", ")
                                        : "; did you mean \"" + frame.path + near + "\"?"));
    }
    frames_.pop_back();
  }
  void leave_list() override { lists_.pop_back(); }

 private:
  struct Frame {
    const Json* json;
    std::string path;  // "model.vision." or ""
    std::vector<std::string> known;
  };

  void push(const Json* json, const std::string& name) {
    if (!json->is_object()) throw UsageError(str(where_, ": expected an object, found ", dump(*json)));
    frames_.push_back({json, name.empty() ? "" : full(name.c_str()) + ".", {}});
  }
  const Json* find(const char* name) {
    Frame& frame = frames_.back();
    frame.known.emplace_back(name);
    const auto it = frame.json->find(name);
    return it == frame.json->end() ? nullptr : &*it;
  }
  std::string full(const char* name) const {
    return frames_.empty() ? name : frames_.back().path + name;
  }
  [[noreturn]] void wrong(const char* name, const char* expected, const Json& found) const {
    throw UsageError(str(where_, ": ", full(name), ": expected ", expected, ", found ", dump(found)));
  }
  void check(const char* name, double value, double low, double high, const Json& found) const {
    if (value >= low && value <= high) return;
    throw UsageError(str(where_, ": ", full(name), " = ", dump(found), ": expected ", range_text(low, high)));
  }
  template <class T, class Check>
  void read_vector(const char* name, std::vector<T>& value, const char* expected, Check valid) {
    const Json* j = find(name);
    if (!j) return;
    if (!j->is_array() || !std::all_of(j->begin(), j->end(), valid)) wrong(name, expected, *j);
    value = j->get<std::vector<T>>();
  }

  std::string where_;
  std::vector<Frame> frames_;
  std::vector<std::pair<const Json*, std::string>> lists_;
  const Json empty_ = Json::object();
};

// Writes fields as JSON.
class Writer : public FieldVisitor {
 public:
  Json take() { return std::move(stack_.front()); }

  void field(const char* name, bool& v, const char*) override { top()[name] = v; }
  void field(const char* name, int64_t& v, const char*, double, double) override { top()[name] = v; }
  void field(const char* name, double& v, const char*, double, double) override { top()[name] = v; }
  void field(const char* name, std::string& v, const char*, const std::vector<std::string>&) override {
    top()[name] = v;
  }
  void field(const char* name, std::vector<std::string>& v, const char*) override { top()[name] = v; }
  void field(const char* name, std::vector<int64_t>& v, const char*) override { top()[name] = v; }
  void field(const char* name, std::vector<double>& v, const char*) override { top()[name] = v; }
  void field(const char* name, Json& v, const char*) override { top()[name] = v; }

 protected:
  bool enter(const char* name, const char*) override {
    names_.emplace_back(name);
    stack_.push_back(Json::object());
    return true;
  }
  bool enter_optional(const char* name, const char* help, bool present) override {
    if (present) return enter(name, help);
    top()[name] = nullptr;
    return false;
  }
  int64_t enter_list(const char* name, const char*, int64_t size) override {
    names_.emplace_back(name);
    stack_.push_back(Json::array());
    return size;
  }
  void enter_item(int64_t) override {
    names_.emplace_back();
    stack_.push_back(Json::object());
  }
  void leave() override {
    Json done = std::move(stack_.back());
    stack_.pop_back();
    if (names_.back().empty()) top().push_back(std::move(done));
    else top()[names_.back()] = std::move(done);
    names_.pop_back();
  }
  void leave_list() override { leave(); }

 private:
  Json& top() { return stack_.back(); }
  std::vector<Json> stack_ = {Json::object()};
  std::vector<std::string> names_;
};

// Writes the reference table.
class Reference : public FieldVisitor {
 public:
  std::string text = "| Key | Type | Default | Range | Meaning |\n|---|---|---|---|---|\n";

  void field(const char* name, bool& v, const char* help) override { row(name, "bool", Json(v), "", help); }
  void field(const char* name, int64_t& v, const char* help, double low, double high) override {
    row(name, "int", Json(v), range_text(low, high), help);
  }
  void field(const char* name, double& v, const char* help, double low, double high) override {
    row(name, "number", Json(v), range_text(low, high), help);
  }
  void field(const char* name, std::string& v, const char* help,
             const std::vector<std::string>& choices) override {
    row(name, "string", Json(v), join(choices, ", "), help);
  }
  void field(const char* name, std::vector<std::string>& v, const char* help) override {
    row(name, "strings", Json(v), "", help);
  }
  void field(const char* name, std::vector<int64_t>& v, const char* help) override {
    row(name, "ints", Json(v), "", help);
  }
  void field(const char* name, std::vector<double>& v, const char* help) override {
    row(name, "numbers", Json(v), "", help);
  }
  void field(const char* name, Json& v, const char* help) override { row(name, "JSON", v, "", help); }

 protected:
  bool enter(const char* name, const char*) override {
    path_.push_back(std::string(name) + ".");
    return true;
  }
  bool enter_optional(const char* name, const char* help, bool) override { return enter(name, help); }
  // One item is enough to show the fields of every item.
  int64_t enter_list(const char* name, const char*, int64_t) override {
    path_.push_back(std::string(name) + "[].");
    return 1;
  }
  void enter_item(int64_t) override { path_.emplace_back(); }
  void leave() override { path_.pop_back(); }
  void leave_list() override { path_.pop_back(); }

 private:
  void row(const char* name, const char* type, const Json& value, const std::string& range,
           const char* help) {
    text += str("| `", join(path_, ""), name, "` | ", type, " | `", value.dump(), "` | ", range, " | ",
                help, " |\n");
  }
  std::vector<std::string> path_;
};

void merge(Json& into, const Json& from) {
  if (!into.is_object() || !from.is_object()) {
    into = from;
    return;
  }
  for (const auto& [key, value] : from.items()) merge(into[key], value);
}

}  // namespace

namespace detail {

void read_config(AnyConfig config, const Json& json, const std::string& where) {
  Reader reader(json, where);
  config.visit(config.config, reader);
  reader.finish();
}

Json write_config(AnyConfig config) {
  Writer writer;
  config.visit(config.config, writer);
  return writer.take();
}

std::string config_reference(AnyConfig config) {
  Reference reference;
  config.visit(config.config, reference);
  return reference.text;
}

}  // namespace detail

void apply_set(Json& json, const std::string& item) {
  const size_t equals = item.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError("--set " + item + ": expected key=value, for example --set model.layers=6");
  }
  Json value = Json::parse(item.substr(equals + 1), nullptr, false);
  if (value.is_discarded()) value = item.substr(equals + 1);
  Json* at = &json;
  for (const std::string& key : split(std::string_view(item).substr(0, equals), '.')) {
    if (at->is_array()) {
      Json* found = nullptr;
      for (size_t i = 0; i < at->size(); ++i) {
        Json& candidate = (*at)[i];
        if (key == std::to_string(i) || (candidate.is_object() && candidate.value("name", "") == key)) {
          found = &candidate;
          break;
        }
      }
      if (!found) {
        throw UsageError(str("--set ", item, ": the list has ", at->size(),
                             " items and none has the index or name \"", key, "\""));
      }
      at = found;
    } else {
      if (!at->is_object() && !at->is_null()) {
        throw UsageError(str("--set ", item, ": \"", key, "\" is below a value, not an object"));
      }
      at = &(*at)[key];
    }
  }
  *at = std::move(value);
}

Json merge_configs(const std::vector<std::string>& files, const std::vector<std::string>& sets) {
  Json merged = Json::object();
  for (const std::string& file : files) {
    const Json json = load_json(file);
    if (!json.is_object()) throw UsageError(file + ": a config is a JSON object");
    merge(merged, json);
  }
  for (const std::string& item : sets) apply_set(merged, item);
  return merged;
}

std::string config_sources(const std::vector<std::string>& files, const std::vector<std::string>& sets) {
  std::vector<std::string> sources = files;
  if (!sets.empty()) sources.emplace_back("--set");
  return join(sources, " + ");
}

}  // namespace mose
