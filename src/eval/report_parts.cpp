#include "eval/report_parts.h"

#include "mose/core/strings.h"

namespace mose::eval::report {

std::string arm_tag(const Arm& arm) {
  return str("<span class=\"tag\"><span class=\"swatch\" style=\"background:var(--arm",
             arm.index % 6, ")\"></span>", html_escape(arm.label), "</span>");
}

std::optional<double> number_at(const Json& json, const std::vector<std::string>& path) {
  const Json* at = &json;
  for (const std::string& key : path) {
    if (at->is_array()) {
      const size_t index = static_cast<size_t>(std::stoul(key));
      if (index >= at->size()) return std::nullopt;
      at = &(*at)[index];
    } else {
      if (!at->is_object() || !at->contains(key)) return std::nullopt;
      at = &(*at)[key];
    }
  }
  if (!at->is_number()) return std::nullopt;
  return at->get<double>();
}

std::string number(const std::optional<double>& value, double factor, int decimals) {
  return value ? fixed(factor * *value, decimals) : "&ndash;";
}

std::string base64(const std::string& bytes) {
  static const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = bytes.size() - i;
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (k < left ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    out += kDigits[group >> 18 & 63];
    out += kDigits[group >> 12 & 63];
    out += left > 1 ? kDigits[group >> 6 & 63] : '=';
    out += left > 2 ? kDigits[group & 63] : '=';
  }
  return out;
}

std::string spoken(const std::string& name) {
  return replace_all(name, "_", " ");
}

}  // namespace mose::eval::report
