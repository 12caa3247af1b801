#include "mose/eval/published.h"

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"

namespace mose::eval {

PublishedScores load_published(const std::filesystem::path& file) {
  const Json json = load_json(file);
  const std::string where = file.string();
  PublishedScores out{json_string(json, "about", where), json_string(json, "split", where), {}};
  const Json& sources = json_object(json, "sources", where);
  const Json& rows = json_array(json, "rows", where);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string at = str(where, ": rows[", i, "]");
    PublishedRow row;
    row.system = json_string(rows[i], "system", at);
    const char* keys[3] = {"general", "region", "suggestion"};
    for (size_t t = 0; t < 3; ++t) {
      if (!json_at(rows[i], keys[t], at).is_null())
        row.tasks[t] = json_number(rows[i], keys[t], at);
    }
    row.final = json_number(rows[i], "final", at);
    const std::string source = json_string(rows[i], "source", at);
    if (!sources.contains(source)) {
      throw DataError(str(at, ": source: \"", source, "\" is not among the file's sources"));
    }
    row.source = json_string(sources[source], "text", str(where, ": sources.", source));
    row.where = json_string(sources[source], "where", str(where, ": sources.", source));
    row.note = json_string(rows[i], "note", at);
    out.rows.push_back(std::move(row));
  }
  return out;
}

}  // namespace mose::eval
