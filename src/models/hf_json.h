// Reading the config.json of other programs: keys may be missing, and then have that program's default.
#pragma once

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"

namespace mose::models::hf {

inline bool has(const Json& json, const char* key) { return json.contains(key) && !json.at(key).is_null(); }

template <class T>
T value_or(const Json& json, const char* key, T otherwise, const std::string& where) {
  if (!has(json, key)) return otherwise;
  try {
    return json.at(key).get<T>();
  } catch (const Json::exception&) {
    throw DataError(str(where, ": \"", key, "\": unexpected value ", json.at(key).dump()));
  }
}

[[noreturn]] inline void refuse(const std::string& where, const char* key, const Json& found, const std::string& expected) {
  throw DataError(str(where, ": \"", key, "\": found ", found.dump(), ", which is not computed here; expected ", expected));
}

// DataError unless the key's value, or `otherwise` when it is missing, is `expected`.
template <class T>
void require(const Json& json, const char* key, T otherwise, const T& expected, const std::string& where) {
  const T value = value_or(json, key, otherwise, where);
  if (value != expected) refuse(where, key, Json(value), Json(expected).dump());
}

}  // namespace mose::models::hf
