// Tables of results, written as Markdown, CSV or JSON.
#pragma once

#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::eval {

struct Table {
  std::string name;                     // "tasks": what JSON and CSV call it
  std::string title;                    // a line above the Markdown table; may be empty
  std::vector<std::string> columns;     // unique
  std::vector<std::vector<Json>> rows;  // text, a number, or null where there is none
  size_t texts = 1;                     // how many of the first columns hold text
};

// `format` is one of
//   markdown  numbers with two decimals (p-values, kappa and correlations with three), "-" for null
//   csv       RFC 4180; one table as it is, several in the long form table,row,column,value, where
//             row joins the text columns with " / "
//   json      {name: [{column: value}]}, all digits
// UsageError on another one.
std::string format_tables(const std::vector<Table>& tables, const std::string& format);
Json tables_json(const std::vector<Table>& tables);

inline const std::vector<std::string> kTableFormats = {"markdown", "csv", "json"};

}  // namespace mose::eval
