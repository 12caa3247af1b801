#include "mose/eval/tables.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

// Counts need no decimals, shares between -1 and 1 need three.
std::string shown(const Json& cell, const std::string& column) {
  if (cell.is_null()) return "-";
  if (cell.is_string()) return replace_all(cell.get<std::string>(), "|", "\\|");
  if (cell.is_number_integer()) return cell.dump();
  const bool p_value = column.rfind("p ", 0) == 0;
  if (p_value && cell.get<double>() < 0.0005) return "<0.001";
  const bool fine = p_value || column == "kappa" || column == "pearson" || column == "spearman";
  return fixed(cell.get<double>(), fine ? 3 : 2);
}

std::string markdown(const Table& table) {
  std::string out = table.title.empty() ? "" : table.title + "\n\n";
  std::string line = "|";
  for (const std::string& column : table.columns) {
    out += str("| ", replace_all(column, "|", "\\|"), " ");
  }
  for (size_t c = 0; c < table.columns.size(); ++c) line += c < table.texts ? "---|" : "---:|";
  out += "|\n" + line + "\n";
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c) out += str("| ", shown(row[c], table.columns[c]), " ");
    out += "|\n";
  }
  return out;
}

std::string csv_cell(const Json& cell) {
  if (cell.is_null()) return "";
  std::string text = cell.is_string() ? cell.get<std::string>() : cell.dump();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return str('"', replace_all(text, "\"", "\"\""), '"');
}

std::string csv_line(const std::vector<Json>& cells) {
  std::string out;
  for (size_t c = 0; c < cells.size(); ++c) out += (c ? "," : "") + csv_cell(cells[c]);
  return out + "\r\n";
}

std::string csv(const std::vector<Table>& tables) {
  if (tables.size() == 1) {
    const Table& table = tables.front();
    std::string out = csv_line({table.columns.begin(), table.columns.end()});
    for (const auto& row : table.rows) out += csv_line(row);
    return out;
  }
  std::string out = csv_line({"table", "row", "column", "value"});
  for (const Table& table : tables) {
    for (const auto& row : table.rows) {
      std::vector<std::string> names;
      for (size_t c = 0; c < table.texts; ++c) {
        names.push_back(row[c].is_string() ? row[c].get<std::string>() : csv_cell(row[c]));
      }
      for (size_t c = table.texts; c < row.size(); ++c) {
        out += csv_line({table.name, join(names, " / "), table.columns[c], row[c]});
      }
    }
  }
  return out;
}

}  // namespace

Json tables_json(const std::vector<Table>& tables) {
  Json out = Json::object();
  for (const Table& table : tables) {
    Json rows = Json::array();
    for (const auto& row : table.rows) {
      Json object = Json::object();
      for (size_t c = 0; c < row.size(); ++c) object[table.columns[c]] = row[c];
      rows.push_back(std::move(object));
    }
    out[table.name] = std::move(rows);
  }
  return out;
}

std::string format_tables(const std::vector<Table>& tables, const std::string& format) {
  if (format == "json") return tables_json(tables).dump(2) + "\n";
  if (format == "csv") return csv(tables);
  if (format != "markdown") {
    throw UsageError(str("format \"", format, "\": expected ", join(kTableFormats, ", ")));
  }
  std::string out;
  for (const Table& table : tables) out += (out.empty() ? "" : "\n") + markdown(table);
  return out;
}

}  // namespace mose::eval
