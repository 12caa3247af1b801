#include "text/json_fields.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/unicode.h"

namespace mose::text {

bool json_flag(const Json& object, const char* key, bool fallback, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return fallback;
  if (!it->is_boolean()) {
    throw DataError(
        str(where, ": field \"", key, "\": expected true or false, found ", it->type_name()));
  }
  return it->get<bool>();
}

std::string json_utf8(const Json& object, const char* key, const std::string& where) {
  std::string value = json_string(object, key, where);
  if (valid_utf8_prefix(value) != value.size()) {
    throw DataError(str(where, ": field \"", key, "\": expected valid UTF-8"));
  }
  return value;
}

Pattern read_pattern(const Json& object, const std::string& where) {
  const Json& pattern = json_object(object, "pattern", where);
  if (pattern.contains("String")) return Pattern::literal(json_utf8(pattern, "String", where));
  if (pattern.contains("Regex")) return Pattern(json_utf8(pattern, "Regex", where), where);
  throw DataError(str(where, ": field \"pattern\": expected \"String\" or \"Regex\""));
}

}  // namespace mose::text
