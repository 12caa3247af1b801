// Just enough of Python's grammar to read literals out of a script without running it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::eval {

struct PythonToken {
  enum Kind { kName, kNumber, kString, kSymbol, kFormatted } kind;
  std::string text;  // of a string: its value; of a formatted string (f"..."): its source
  int64_t line = 0;
  bool begins = false;  // first of a logical line: after a newline outside brackets

  bool is(const char* symbol) const { return kind == kSymbol && text == symbol; }
  bool named(const char* name) const { return kind == kName && text == name; }
};

class PythonSource {
 public:
  // DataError naming `where` and the line on a string without end or an unknown escape.
  PythonSource(const std::string& text, std::string where);

  const std::vector<PythonToken>& tokens() const { return tokens_; }
  const std::string& where() const { return where_; }
  // The literals (text, number, True, False, None, list, tuple, dict of those; adjacent strings
  // joined) that `name = ...` gives, in the order of the source; `name` may be dotted
  // ("self.prompt"). Other right-hand sides are passed over.
  std::vector<Json> assigned(const std::string& name) const;
  // Index of the token after "def name", or -1.
  int64_t function(const std::string& name) const;

 private:
  bool literal(size_t& at, Json& out) const;
  bool sequence(size_t& at, const char* end, Json& out) const;
  bool dictionary(size_t& at, Json& out) const;

  std::vector<PythonToken> tokens_;
  std::string where_;
};

}  // namespace mose::eval
