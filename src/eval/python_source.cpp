#include "eval/python_source.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

bool name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || (c & 0x80);
}

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

// Reads a source from left to right.
struct Lexer {
  const std::string& text;
  const std::string& where;
  size_t at = 0;
  int64_t line = 1;

  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(str(where, ":", line, ": ", what));
  }
  bool ahead(const std::string& s) const { return text.compare(at, s.size(), s) == 0; }

  void escape(std::string& out) {
    const char c = text[at++];
    const std::string simple = "\\'\"abfnrtv", value = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t i = simple.find(c); i != std::string::npos) {
      out += value[i];
    } else if (c == '\n') {
      ++line;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t code = 0;
      for (size_t i = 0; i < digits; ++i, ++at) {
        if (at >= text.size() || !std::isxdigit(static_cast<unsigned char>(text[at]))) {
          fail(str("\\", c, ": expected ", digits, " hexadecimal digits"));
        }
        code = code * 16 + static_cast<uint32_t>(std::stoi(text.substr(at, 1), nullptr, 16));
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        fail(str("\\", c, ": not a character"));
      }
      append_utf8(out, code);
    } else if (c == 'N' || std::isdigit(static_cast<unsigned char>(c))) {
      fail(str("the escape \\", c, " is not supported"));
    } else {  // Python keeps the backslash of an escape that it does not know
      out += '\\';
      out += c;
    }
  }

  // At the opening quote.
  std::string quoted(bool raw) {
    const char quote = text[at];
    const std::string triple(3, quote);
    const bool is_long = ahead(triple);
    const std::string end = is_long ? triple : std::string(1, quote);
    at += end.size();
    std::string out;
    while (!ahead(end)) {
      if (at >= text.size() || (text[at] == '\n' && !is_long)) fail("a string without end");
      if (text[at] == '\n') ++line;
      if (text[at] != '\\') {
        out += text[at++];
      } else if (at + 1 >= text.size()) {
        fail("a string without end");
      } else if (raw) {
        out += text[at++];
        if (text[at] == '\n') ++line;
        out += text[at++];
      } else {
        ++at;
        escape(out);
      }
    }
    at += end.size();
    return out;
  }

  // Letters before a quote: r, b, f, u in any case.
  bool prefix(size_t length) const {
    for (size_t i = at; i < at + length; ++i) {
      if (!std::strchr("rRbBfFuU", text[i])) return false;
    }
    return length <= 2;
  }

  std::vector<PythonToken> run() {
    std::vector<PythonToken> tokens;
    int64_t depth = 0;  // of brackets
    bool begins = true;
    int64_t here = 1;
    const auto push = [&](PythonToken::Kind kind, std::string value) {
      tokens.push_back({kind, std::move(value), here, begins});
      begins = false;
    };
    while (at < text.size()) {
      const char c = text[at];
      here = line;
      if (c == '\n') {
        ++line;
        begins = begins || depth == 0;
      }
      if (c == '#') {
        while (at < text.size() && text[at] != '\n') ++at;
      } else if (c == '\\') {  // the line goes on
        at = std::min(text.find('\n', at), text.size() - 1) + 1;
        ++line;
      } else if (std::isspace(static_cast<unsigned char>(c))) {
        ++at;
      } else if (c == '"' || c == '\'') {
        push(PythonToken::kString, quoted(false));
      } else if (std::isdigit(static_cast<unsigned char>(c))) {
        const size_t begin = at;
        while (at < text.size() && (name_char(text[at]) || text[at] == '.')) ++at;
        push(PythonToken::kNumber, text.substr(begin, at - begin));
      } else if (name_char(c)) {
        size_t end = at;
        while (end < text.size() && name_char(text[end])) ++end;
        const std::string name = text.substr(at, end - at);
        const bool string = end < text.size() && (text[end] == '"' || text[end] == '\'');
        const bool prefixed = string && prefix(name.size());
        at = end;
        if (!prefixed) {
          push(PythonToken::kName, name);
          continue;
        }
        const std::string kind = to_lower(name);
        const bool plain = kind == "r" || kind == "u";
        push(plain ? PythonToken::kString : PythonToken::kFormatted,
             quoted(kind.find('r') != std::string::npos));
      } else {
        if (c == '(' || c == '[' || c == '{') ++depth;
        if ((c == ')' || c == ']' || c == '}') && depth > 0) --depth;
        const size_t size = ahead("==") ? 2 : 1;
        push(PythonToken::kSymbol, text.substr(at, size));
        at += size;
      }
    }
    return tokens;
  }
};

}  // namespace

PythonSource::PythonSource(const std::string& text, std::string where) : where_(std::move(where)) {
  tokens_ = Lexer{text, where_}.run();
}

bool PythonSource::sequence(size_t& at, const char* end, Json& out) const {
  out = Json::array();
  while (at < tokens_.size() && !tokens_[at].is(end)) {
    Json item;
    if (!literal(at, item)) return false;
    out.push_back(std::move(item));
    if (at < tokens_.size() && tokens_[at].is(",")) ++at;
  }
  return at++ < tokens_.size();
}

bool PythonSource::dictionary(size_t& at, Json& out) const {
  out = Json::object();
  while (at < tokens_.size() && !tokens_[at].is("}")) {
    Json key, value;
    if (!literal(at, key) || !key.is_string() || at >= tokens_.size() || !tokens_[at].is(":")) {
      return false;
    }
    if (!literal(++at, value)) return false;
    out[key.get<std::string>()] = std::move(value);
    if (at < tokens_.size() && tokens_[at].is(",")) ++at;
  }
  return at++ < tokens_.size();
}

bool PythonSource::literal(size_t& at, Json& out) const {
  if (at >= tokens_.size()) return false;
  const PythonToken& token = tokens_[at];
  if (token.kind == PythonToken::kString) {
    std::string value = tokens_[at++].text;
    for (; at < tokens_.size() && tokens_[at].kind == PythonToken::kString && !tokens_[at].begins;
         ++at) {
      value += tokens_[at].text;  // adjacent strings are one
    }
    out = value;
    return true;
  }
  if (token.kind == PythonToken::kNumber) {
    out = Json::parse(token.text, nullptr, false);
    return ++at, out.is_number();
  }
  if (token.named("True") || token.named("False")) return out = token.named("True"), ++at, true;
  if (token.named("None")) return out = nullptr, ++at, true;
  if (token.is("[")) return sequence(++at, "]", out);
  if (token.is("{")) return dictionary(++at, out);
  if (token.is("(")) {
    const size_t begin = ++at;
    if (!sequence(at, ")", out)) return false;
    const bool comma = tokens_[at - 2].is(",") || out.size() != 1;
    if (!comma && at > begin) out = Json(out[0]);  // brackets, not a tuple
    return true;
  }
  return false;
}

std::vector<Json> PythonSource::assigned(const std::string& name) const {
  std::vector<PythonToken> path;
  for (const std::string& part : split(name, '.')) {
    if (!path.empty()) path.push_back({PythonToken::kSymbol, "."});
    path.push_back({PythonToken::kName, part});
  }
  path.push_back({PythonToken::kSymbol, "="});
  std::vector<Json> values;
  for (size_t i = 0; i + path.size() < tokens_.size(); ++i) {
    if (i > 0 && tokens_[i - 1].is(".")) continue;
    bool match = true;
    for (size_t k = 0; k < path.size() && match; ++k) {
      match = tokens_[i + k].kind == path[k].kind && tokens_[i + k].text == path[k].text;
    }
    size_t at = i + path.size();
    Json value;
    if (!match || !literal(at, value)) continue;
    // More of the expression (a method call, a sum): not a literal.
    const bool more = at < tokens_.size() && !tokens_[at].begins && !tokens_[at].is(",") &&
                      !tokens_[at].is(")") && !tokens_[at].is(";");
    if (!more) values.push_back(std::move(value));
  }
  return values;
}

int64_t PythonSource::function(const std::string& name) const {
  for (size_t i = 0; i + 1 < tokens_.size(); ++i) {
    if (tokens_[i].named("def") && tokens_[i + 1].named(name.c_str())) {
      return static_cast<int64_t>(i) + 2;
    }
  }
  return -1;
}

}  // namespace mose::eval
