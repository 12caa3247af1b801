#include "mose/skills/inspect.h"

#include <algorithm>
#include <set>

#include "mose/core/strings.h"
#include "skills/pieces.h"

namespace mose::skills {

namespace {

constexpr const char* kReset = "\033[0m";
constexpr const char* kBold = "\033[1m";
constexpr const char* kUnderline = "\033[4m";
constexpr const char* kColors[] = {"\033[36m", "\033[33m", "\033[32m", "\033[35m", "\033[34m"};

std::string color_of(int64_t stage) {
  return stage < 0 ? "" : kColors[static_cast<size_t>(stage) % std::size(kColors)];
}

std::string column(const std::string& text, size_t width) {
  return text + std::string(width > text.size() ? width - text.size() : 1, ' ');
}

// The span's beginning on one line, never cut inside a code point.
std::string excerpt(const Sample& sample, const Label& label) {
  constexpr size_t kLongest = 60;
  std::string text = sample.answer.substr(static_cast<size_t>(label.begin),
                                          static_cast<size_t>(label.end - label.begin));
  text = replace_all(text, "\n", " ");
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

}  // namespace

std::vector<Piece> cut_into_pieces(const Sample& sample) {
  std::set<int64_t> cuts = {0, static_cast<int64_t>(sample.answer.size())};
  for (const Label& label : sample.labels) {
    cuts.insert(label.begin);
    cuts.insert(label.end);
  }
  std::vector<Piece> pieces;
  for (auto it = cuts.begin(); std::next(it) != cuts.end(); ++it) {
    const int64_t begin = *it, end = *std::next(it);
    Piece piece{sample.answer.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin))};
    double best = 0;
    for (size_t i = 0; i < sample.labels.size(); ++i) {
      const Label& label = sample.labels[i];
      if (label.begin > begin || label.end < end) continue;
      piece.labels.push_back(i);
      if (label.confidence > best) {
        best = label.confidence;
        piece.stage = label.stage;
      }
    }
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::string inspect_text(const Sample& sample, const Taxonomy& taxonomy, bool color) {
  const auto paint = [&](const std::string& code, const std::string& text) {
    return color && !code.empty() ? code + text + kReset : text;
  };
  std::string out = paint(kBold, sample.id) + "  " + sample.form + ", " + sample.task + "\n";
  out += "image     " + sample.image + "\n";
  out += "question  " + sample.question + "\n\n";
  for (const Piece& piece : cut_into_pieces(sample)) {
    const bool skill = std::any_of(piece.labels.begin(), piece.labels.end(),
                                   [&](size_t i) { return sample.labels[i].skill >= 0; });
    out += paint(color_of(piece.stage) + (skill ? kUnderline : ""), piece.text);
  }
  out += "\n\n";
  for (const Label& label : sample.labels) {
    const std::string& stage = taxonomy.stages()[static_cast<size_t>(label.stage)].name;
    const std::string skill = label.skill < 0 ? "-" : taxonomy.skills()[static_cast<size_t>(label.skill)].name;
    out += paint(color_of(label.stage), column(stage, 10) + column(skill, 25)) +
           column(label.rule, 29) + fixed(label.confidence, 2) +
           column(str("  ", label.begin, "-", label.end), 13) + excerpt(sample, label) + "\n";
  }
  return out;
}

}  // namespace mose::skills
