#include <algorithm>

#include "mose/coda/image_size.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/skills/inspect.h"
#include "skills/pieces.h"

namespace mose::skills {

namespace {

constexpr const char* kStyle = R"(
body { font: 16px/1.75 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2024; }
h1 { font-size: 1.2rem; margin: 0 0 .2rem; } .meta { color: #60646c; margin: 0 0 1rem; }
figure { position: relative; margin: 0 0 1rem; } figure img, figure svg { width: 100%; display: block; }
figure svg { position: absolute; inset: 0; height: 100%; }
.question { border-left: 3px solid #b0b4ba; padding-left: .8rem; color: #60646c; }
.answer { white-space: pre-wrap; line-height: 2.2; margin-bottom: 1.5rem; } .answer span { padding: 2px 0 3px; border-radius: 2px; }
.answer span.dim { opacity: .25; }
.legend span { margin-right: 1rem; white-space: nowrap; } .legend i { display: inline-block; width: 1rem; height: .7rem; margin-right: .35rem; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; line-height: 1.4; }
th { text-align: left; color: #60646c; font-weight: 500; } td, th { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e8e8ec; vertical-align: top; }
tr.label:hover { background: #f4f4f6; } .n { font-variant-numeric: tabular-nums; white-space: nowrap; }
)";

// Pointing at a label shows its span alone.
constexpr const char* kScript = R"(
const pieces = document.querySelectorAll('.answer span');
for (const row of document.querySelectorAll('tr.label')) {
  row.onmouseenter = () => pieces.forEach(p => p.classList.toggle('dim', !p.dataset.labels.split(' ').includes(row.dataset.label)));
  row.onmouseleave = () => pieces.forEach(p => p.classList.remove('dim'));
}
)";

std::string base64(const std::string& bytes) {
  constexpr const char* kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(bytes.size() * 4 / 3 + 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kLetters[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

// Stages differ in hue; the skills of a stage spread over the hues near its own.
double stage_hue(const Taxonomy& taxonomy, int64_t stage) {
  return 205 + 360.0 * static_cast<double>(stage) / static_cast<double>(taxonomy.stages().size());
}

std::string skill_color(const Taxonomy& taxonomy, int64_t skill) {
  const int64_t stage = taxonomy.skills()[static_cast<size_t>(skill)].stage;
  int64_t rank = 0, count = 0;
  for (size_t i = 0; i < taxonomy.skills().size(); ++i) {
    if (taxonomy.skills()[i].stage != stage) continue;
    rank += static_cast<int64_t>(i) < skill;
    ++count;
  }
  const double place = (static_cast<double>(rank) + 0.5) / static_cast<double>(count) - 0.5;
  return str("hsl(", fixed(stage_hue(taxonomy, stage) + 110 * place, 0), " 75% ", rank % 2 ? 38 : 55, "%)");
}

std::string tint(const Taxonomy& taxonomy, int64_t stage) {
  return str("hsl(", fixed(stage_hue(taxonomy, stage), 0), " 80% 93%)");
}

std::string label_name(const Taxonomy& taxonomy, const Label& label) {
  return label.skill >= 0 ? taxonomy.skills()[static_cast<size_t>(label.skill)].name
                          : taxonomy.stages()[static_cast<size_t>(label.stage)].name;
}

std::string answer_html(const Sample& sample, const Taxonomy& taxonomy) {
  std::string out;
  for (const Piece& piece : cut_into_pieces(sample)) {
    std::string title, ids, shadows;
    std::vector<int64_t> drawn;
    for (const size_t i : piece.labels) {
      const Label& label = sample.labels[i];
      title += str(title.empty() ? "" : "\n", label_name(taxonomy, label), " (", label.rule, ", ",
                   fixed(label.confidence, 2), ")");
      ids += str(ids.empty() ? "" : " ", i);
      if (label.skill < 0 || std::find(drawn.begin(), drawn.end(), label.skill) != drawn.end()) continue;
      drawn.push_back(label.skill);
      // Shadows listed first lie on top, so each later underline shows 3 px below the one before.
      shadows += str(shadows.empty() ? "" : ", ", "0 ", 3 * drawn.size(), "px ", skill_color(taxonomy, label.skill));
    }
    std::string style;
    if (piece.stage >= 0) style += "background:" + tint(taxonomy, piece.stage) + ";";
    if (!shadows.empty()) style += "box-shadow:" + shadows + ";";
    out += str("<span style=\"", style, "\" data-labels=\"", ids, "\" title=\"", html_escape(title), "\">",
               html_escape(piece.text), "</span>");
  }
  return out;
}

std::string figure_html(const Sample& sample, const std::filesystem::path& root) {
  const std::filesystem::path file = root / sample.image;
  const coda::ImageSize size = coda::image_size(file);
  const std::string bytes = read_file(file);
  const char* kind = static_cast<unsigned char>(bytes[0]) == 0x89 ? "png" : "jpeg";
  std::string boxes;
  for (const RegionTarget& object : sample.objects) {
    const coda::Box& b = object.box;
    boxes += str("<rect x=\"", b.x, "\" y=\"", b.y, "\" width=\"", b.w, "\" height=\"", b.h,
                 "\" fill=\"none\" stroke=\"#e5484d\" stroke-width=\"2\"><title>",
                 html_escape(object.category), "</title></rect><text x=\"", b.x, "\" y=\"",
                 b.y > 0.04 * static_cast<double>(size.height) ? b.y - 4 : b.y + b.h + 0.035 * static_cast<double>(size.height),
                 "\" fill=\"#fff\" stroke=\"#1c2024\" stroke-width=\"3\" paint-order=\"stroke\" font-size=\"",
                 fixed(0.035 * static_cast<double>(size.height), 1), "\">", html_escape(object.category), "</text>");
  }
  return str("<figure><img alt=\"", html_escape(sample.image), "\" src=\"data:image/", kind, ";base64,",
             base64(bytes), "\"><svg viewBox=\"0 0 ", size.width, " ", size.height,
             "\" font-family=\"system-ui, sans-serif\">", boxes, "</svg></figure>\n");
}

}  // namespace

std::string inspect_html(const Sample& sample, const Taxonomy& taxonomy,
                         const std::filesystem::path& root) {
  std::string stages, rows;
  for (size_t s = 0; s < taxonomy.stages().size(); ++s) {
    stages += str("<span><i style=\"background:", tint(taxonomy, static_cast<int64_t>(s)), "\"></i>",
                  html_escape(taxonomy.stages()[s].name), "</span>");
  }
  for (size_t i = 0; i < sample.labels.size(); ++i) {
    const Label& label = sample.labels[i];
    const std::string chip = label.skill >= 0 ? skill_color(taxonomy, label.skill) : tint(taxonomy, label.stage);
    rows += str("<tr class=\"label\" data-label=\"", i, "\"><td>",
                html_escape(taxonomy.stages()[static_cast<size_t>(label.stage)].name),
                "</td><td class=\"n\"><span style=\"border-bottom:3px solid ", chip, "\">",
                label.skill >= 0 ? html_escape(label_name(taxonomy, label)) : "(stage)", "</span></td><td class=\"n\">",
                html_escape(label.rule), "</td><td class=\"n\">", fixed(label.confidence, 2), "</td><td>",
                html_escape(sample.answer.substr(static_cast<size_t>(label.begin),
                                                 static_cast<size_t>(label.end - label.begin))),
                "</td></tr>\n");
  }
  return str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", html_escape(sample.id),
             "</title><style>", kStyle, "</style></head><body>\n<h1>", html_escape(sample.id),
             "</h1><p class=\"meta\">", html_escape(sample.form), ", ", html_escape(sample.task), ", ",
             html_escape(sample.image), "</p>\n", figure_html(sample, root), "<p class=\"question\">",
             html_escape(sample.question), "</p>\n<p class=\"legend\">", stages,
             "<span>Underlines are skills; point at a row below to see its span.</span></p>\n<div class=\"answer\">",
             answer_html(sample, taxonomy),
             "</div>\n<table><thead><tr><th>stage</th><th>skill</th><th>rule</th><th>confidence</th><th>text</th></tr></thead><tbody>\n",
             rows, "</tbody></table>\n<script>", kScript, "</script></body></html>\n");
}

}  // namespace mose::skills
