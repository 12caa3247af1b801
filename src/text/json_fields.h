// Fields that the parts of tokenizer.json share.
#pragma once

#include <string>

#include "mose/core/json.h"
#include "text/pattern.h"

namespace mose::text {

// A boolean that may be absent or null; DataError when it is something else.
bool json_flag(const Json& object, const char* key, bool fallback, const std::string& where);
// A string that must be valid UTF-8.
std::string json_utf8(const Json& object, const char* key, const std::string& where);
// {"pattern": {"String": s}} or {"pattern": {"Regex": r}}.
Pattern read_pattern(const Json& object, const std::string& where);

}  // namespace mose::text
