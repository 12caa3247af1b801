#include "mose/infer/answer_view.h"

#include <algorithm>
#include <cstdio>

#include "mose/core/strings.h"

namespace mose::infer {
namespace {

// Colours of the terminal's 256 that differ from each other and can be read on black and white.
constexpr int kColours[] = {33, 208, 35, 161, 99, 37, 136, 197, 70, 63, 172, 205};

std::string painted(const std::string& text, int64_t expert, bool colour) {
  if (!colour) return str(text, "[", expert, "]");
  return str("\033[38;5;", kColours[static_cast<size_t>(expert) % std::size(kColours)], "m", text, "\033[0m");
}

std::string percent(int64_t part, size_t whole) {
  return str(whole == 0 ? 0 : (100 * part + static_cast<int64_t>(whole) / 2) / static_cast<int64_t>(whole), " %");
}

}  // namespace

std::string answer_by_section(const std::string& answer, const skills::Taxonomy& taxonomy, bool colour) {
  const auto parts = skills::split_answer(answer, taxonomy);
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string text = trim(parts[i]);
    if (text.empty()) continue;
    const std::string& header = taxonomy.stages()[i].header;
    out += (colour ? "\033[1m" + header + "\033[0m" : header) + "\n" + text + "\n\n";
  }
  return out;
}

std::string routing_view(const Generation& generation, const text::Tokenizer& tokenizer,
                         const skills::Taxonomy& taxonomy, int64_t experts, bool colour) {
  const auto& routing = generation.routing;
  if (routing.empty() || routing.front().top_expert.empty()) return "This model has no sparse layer.\n";
  const size_t layers = routing.front().top_expert.size(), last = layers - 1;
  std::string out;
  text::StreamDecoder decoder(tokenizer);
  for (size_t i = 0; i < routing.size(); ++i) {
    out += painted(decoder.push(generation.tokens[i]), routing[i].top_expert[last], colour);
  }
  out += "\n\ntop expert, share of tokens\n";
  for (size_t layer = 0; layer < layers; ++layer) {
    out += str("  sparse layer ", layer, ":");
    for (int64_t e = 0; e < experts; ++e) {
      const auto count = std::count_if(routing.begin(), routing.end(),
                                       [&](const TokenRouting& t) { return t.top_expert[layer] == e; });
      if (count > 0) out += "  " + painted(str("expert ", e, " ", percent(count, routing.size())), e, colour);
    }
    out += "\n";
  }
  if (routing.front().skill[last] < 0) return out;
  out += "\nmost probable skill, share of tokens\n";
  for (size_t s = 0; s < taxonomy.skills().size(); ++s) {
    const auto count = std::count_if(routing.begin(), routing.end(), [&](const TokenRouting& t) {
      return t.skill[last] == static_cast<int64_t>(s);
    });
    if (count == 0) continue;
    const auto& skill = taxonomy.skills()[s];
    char line[128];
    std::snprintf(line, sizeof line, "  %-9s %-26s %5s\n", taxonomy.stages()[static_cast<size_t>(skill.stage)].name.c_str(),
                  skill.name.c_str(), percent(count, routing.size()).c_str());
    out += line;
  }
  return out;
}

}  // namespace mose::infer
