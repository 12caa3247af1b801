#include "mose/core/json.h"

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose {

Json parse_json(std::string_view text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {  // also a number that no double holds
    // nlohmann's message holds line and column; its "[json.exception…]" prefix says nothing to a user, and what was read last may be
    // a whole text.
    constexpr size_t kBegin = 200, kEnd = 40;
    std::string what = e.what();
    if (const size_t at = what.find("] "); at != std::string::npos) what.erase(0, at + 2);
    if (what.size() > kBegin + kEnd) {
      size_t begin = kBegin, end = what.size() - kEnd;
      const auto inside = [&](size_t i) { return (static_cast<unsigned char>(what[i]) & 0xC0) == 0x80; };  // a character of UTF-8
      while (inside(begin)) --begin;
      while (inside(end)) --end;
      what = str(what.substr(0, begin), " ... ", what.substr(end));
    }
    throw DataError(str(where, ": not valid JSON: ", what));
  }
}

Json load_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

void save_json(const std::filesystem::path& path, const Json& value, int indent) {
  write_file(path, value.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n");
}

namespace {

[[noreturn]] void wrong(const std::string& where, const std::string& key, const char* expected,
                        const Json& found) {
  throw DataError(str(where, ": field \"", key, "\": expected ", expected, ", found ",
                      found.type_name(), " ",
                      found.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60)));
}

}  // namespace

const Json& json_at(const Json& object, const std::string& key, const std::string& where) {
  if (!object.is_object()) {
    throw DataError(str(where, ": expected an object with field \"", key, "\", found ",
                        object.type_name()));
  }
  const auto it = object.find(key);
  if (it == object.end()) throw DataError(str(where, ": field \"", key, "\" is missing"));
  return *it;
}

std::string json_string(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_string()) wrong(where, key, "a string", value);
  return value.get<std::string>();
}

int64_t json_int(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  const bool too_large = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  if (!value.is_number_integer() || too_large) wrong(where, key, "an integer of 64 bits", value);
  return value.get<int64_t>();
}

double json_number(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_number()) wrong(where, key, "a number", value);
  return value.get<double>();
}

const Json& json_array(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_array()) wrong(where, key, "an array", value);
  return value;
}

const Json& json_object(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = json_at(object, key, where);
  if (!value.is_object()) wrong(where, key, "an object", value);
  return value;
}

}  // namespace mose
