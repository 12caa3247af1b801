#include "text/decoder.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "text/json_fields.h"
#include "text/unicode.h"

namespace mose::text {

namespace {

using Kind = DecodeStep::Kind;

void read(const Json& json, const std::string& where, std::vector<DecodeStep>& out) {
  if (json.is_null()) return;
  const std::string type = json_string(json, "type", where);
  if (type == "Sequence") {
    for (const Json& item : json_array(json, "decoders", where)) read(item, where, out);
  } else if (type == "ByteLevel") {
    out.push_back({Kind::kByteLevel});
  } else if (type == "ByteFallback") {
    out.push_back({Kind::kByteFallback});
  } else if (type == "Fuse") {
    out.push_back({Kind::kFuse});
  } else if (type == "Replace") {
    const Json& pattern = json_object(json, "pattern", where);
    DecodeStep step{Kind::kReplace};
    step.from = json_utf8(pattern, "String", where + ": pattern");
    step.to = json_utf8(json, "content", where);
    if (step.from.empty()) throw DataError(str(where, ": field \"pattern\": expected some text"));
    out.push_back(step);
  } else if (type == "Strip") {
    DecodeStep step{Kind::kStrip};
    step.strip = json_utf8(json, "content", where);
    step.strip_start = json_int(json, "start", where);
    step.strip_stop = json_int(json, "stop", where);
    if (step.strip.empty())
      throw DataError(str(where, ": field \"content\": expected a character"));
    out.push_back(step);
  } else if (type == "Metaspace") {
    DecodeStep step{Kind::kMetaspace};
    step.from = json.contains("replacement") ? json_utf8(json, "replacement", where)
                                             : std::string("\xE2\x96\x81");
    step.to = " ";
    step.prefix = json_flag(json, "add_prefix_space", true, where);
    if (json.contains("prepend_scheme")) {
      step.prefix = json_string(json, "prepend_scheme", where) != "never";
    }
    if (step.from.empty()) throw DataError(str(where, ": field \"replacement\": is empty"));
    out.push_back(step);
  } else {
    throw DataError(str(where, ": \"", type,
                        "\" is not supported; known are ByteLevel, ByteFallback, Replace, Fuse, "
                        "Strip, Metaspace and Sequence"));
  }
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

// Runs of byte tokens become their text, or one replacement character a byte where they are none.
std::vector<std::string> byte_fallback(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (valid_utf8_prefix(run) == run.size()) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = fallback_byte(token);
    if (byte >= 0) {
      run.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string stripped(const std::string& token, const DecodeStep& step, bool at_start) {
  size_t begin = 0, end = token.size();
  const size_t size = step.strip.size();
  for (int64_t i = 0; at_start && i < step.strip_start && end - begin >= size; ++i) {
    if (token.compare(begin, size, step.strip) != 0) break;
    begin += size;
  }
  for (int64_t i = 0; i < step.strip_stop && end - begin >= size; ++i) {
    if (token.compare(end - size, size, step.strip) != 0) break;
    end -= size;
  }
  return token.substr(begin, end - begin);
}

}  // namespace

std::vector<DecodeStep> read_decoder(const Json& json, const std::string& where) {
  std::vector<DecodeStep> out;
  read(json, where, out);
  return out;
}

int fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string byte_level_bytes(const std::string& token) {
  std::string out;
  size_t length = 0;
  for (size_t at = 0; at < token.size(); at += length) {
    const int byte = char_to_byte(decode_utf8(token, at, length));
    if (byte < 0) return token;  // an added token that is not spelled in the byte alphabet
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

std::string decode_tokens(const std::vector<DecodeStep>& steps, std::vector<std::string> tokens,
                          bool at_start) {
  if (steps.empty()) return (at_start ? "" : " ") + join(tokens, " ");
  bool fused = false;
  for (const DecodeStep& step : steps) {
    switch (step.kind) {
      case Kind::kByteLevel: {
        std::string bytes;
        for (const std::string& token : tokens) bytes += byte_level_bytes(token);
        tokens = {lossy_utf8(bytes)};
        break;
      }
      case Kind::kByteFallback:
        tokens = byte_fallback(tokens);
        break;
      case Kind::kFuse:
        tokens = {joined(tokens)};
        fused = true;
        break;
      case Kind::kReplace:
        for (std::string& token : tokens) token = replace_all(token, step.from, step.to);
        break;
      case Kind::kStrip:
        // After Fuse there is one token, whose start is the text's own.
        for (std::string& token : tokens) token = stripped(token, step, at_start || !fused);
        break;
      case Kind::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i) {
          const bool drop = i == 0 && at_start && step.prefix;
          tokens[i] = replace_all(tokens[i], step.from, drop ? "" : step.to);
        }
        break;
    }
  }
  return joined(tokens);
}

}  // namespace mose::text
