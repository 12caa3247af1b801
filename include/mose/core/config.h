// Configs as plain structs. Each part nests its own `Config` and lists its fields once, in
// `void visit(FieldVisitor&)`; that list drives JSON in and out, range checks, nearest-name hints,
// `--set a.b=c`, `--dump-config` and the generated reference.
//
//   struct Config {
//     int64_t layers = 6;
//     double dropout = 0;
//     void visit(FieldVisitor& v) {
//       v.field("layers", layers, "number of blocks", 1, 1000);
//       v.field("dropout", dropout, "drop probability", 0, 1);
//     }
//   };
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose {

class FieldVisitor {
 public:
  static constexpr double kAny = std::numeric_limits<double>::infinity();

  virtual ~FieldVisitor() = default;
  virtual void field(const char* name, bool& value, const char* help) = 0;
  virtual void field(const char* name, int64_t& value, const char* help, double low = -kAny,
                     double high = kAny) = 0;
  virtual void field(const char* name, double& value, const char* help, double low = -kAny,
                     double high = kAny) = 0;
  // With `choices`, any other text is an error that names them.
  virtual void field(const char* name, std::string& value, const char* help,
                     const std::vector<std::string>& choices = {}) = 0;
  virtual void field(const char* name, std::vector<std::string>& value, const char* help) = 0;
  virtual void field(const char* name, std::vector<int64_t>& value, const char* help) = 0;
  virtual void field(const char* name, std::vector<double>& value, const char* help) = 0;
  // Free-form JSON, for tables that are data (an assignment of skills to experts).
  virtual void field(const char* name, Json& value, const char* help) = 0;

  // A nested config.
  template <class Config>
  void group(const char* name, Config& config, const char* help) {
    if (!enter(name, help)) return;
    config.visit(*this);
    leave();
  }
  // A nested config that may be null.
  template <class Config>
  void group(const char* name, std::optional<Config>& config, const char* help) {
    const bool present = enter_optional(name, help, config.has_value());
    if (!present) {
      config.reset();
      return;
    }
    if (!config) config.emplace();
    config->visit(*this);
    leave();
  }
  // A list of nested configs.
  template <class Config>
  void list(const char* name, std::vector<Config>& configs, const char* help) {
    const int64_t size = enter_list(name, help, static_cast<int64_t>(configs.size()));
    if (size < 0) return;
    configs.resize(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      enter_item(i);
      configs[static_cast<size_t>(i)].visit(*this);
      leave();
    }
    leave_list();
  }

 protected:
  virtual bool enter(const char* name, const char* help) = 0;
  virtual bool enter_optional(const char* name, const char* help, bool present) = 0;
  virtual int64_t enter_list(const char* name, const char* help, int64_t size) = 0;
  virtual void enter_item(int64_t index) = 0;
  virtual void leave() = 0;
  virtual void leave_list() = 0;
};

namespace detail {
// Erases the type of a config so that the work is done in one source.
struct AnyConfig {
  void* config;
  void (*visit)(void*, FieldVisitor&);
};
template <class Config>
AnyConfig any_config(Config& config) {
  return {&config, [](void* c, FieldVisitor& v) { static_cast<Config*>(c)->visit(v); }};
}
void read_config(AnyConfig config, const Json& json, const std::string& where);
Json write_config(AnyConfig config);
std::string config_reference(AnyConfig config);
}  // namespace detail

// Sets every field named in `json`; fields that are absent keep their value. `where` names the
// source in errors. UsageError on an unknown key (with the nearest known one), a wrong type, or a
// value out of range.
template <class Config>
void from_json_config(Config& config, const Json& json, const std::string& where) {
  detail::read_config(detail::any_config(config), json, where);
}
template <class Config>
Json to_json_config(const Config& config) {
  return detail::write_config(detail::any_config(const_cast<Config&>(config)));
}
// A Markdown table of all fields: name, type, default, range, meaning.
template <class Config>
std::string config_reference() {
  Config config;
  return detail::config_reference(detail::any_config(config));
}

// Merges files in order (a later one wins, objects merge, lists are replaced), then applies
// `--set` items "a.b=c" (c as JSON, or as text when it is not JSON; a list item is named by its index or by
// its "name" field: stages.router.steps=10).
Json merge_configs(const std::vector<std::string>& files, const std::vector<std::string>& sets);
void apply_set(Json& json, const std::string& item);
// What errors of a merged config name: "base.json + arm.json + --set".
std::string config_sources(const std::vector<std::string>& files, const std::vector<std::string>& sets);

template <class Config>
Config load_config(const std::vector<std::string>& files, const std::vector<std::string>& sets) {
  Config config;
  from_json_config(config, merge_configs(files, sets), config_sources(files, sets));
  return config;
}

}  // namespace mose
