// JSON with the order of keys kept, and errors that name the file, the key and the types.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mose {

using Json = nlohmann::ordered_json;

// Parses `text`; `where` (a path) is named in the DataError of malformed input, with line and column.
Json parse_json(std::string_view text, const std::string& where);
Json load_json(const std::filesystem::path& path);

// Writes beside and renames, so a reader never sees half a file. indent < 0 writes one line.
void save_json(const std::filesystem::path& path, const Json& value, int indent = 2);

// json.at(key) as T, with a DataError naming `where`, the key, the expected type and what was found.
const Json& json_at(const Json& object, const std::string& key, const std::string& where);
std::string json_string(const Json& object, const std::string& key, const std::string& where);
int64_t json_int(const Json& object, const std::string& key, const std::string& where);
double json_number(const Json& object, const std::string& key, const std::string& where);
const Json& json_array(const Json& object, const std::string& key, const std::string& where);
const Json& json_object(const Json& object, const std::string& key, const std::string& where);

}  // namespace mose
