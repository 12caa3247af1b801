// Sample pictures with reference and predicted answers.
#include <map>
#include <memory>

#include "eval/report_parts.h"
#include "mose/coda/annotation.h"
#include "mose/coda/answers.h"
#include "mose/coda/image_size.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/eval/judge.h"
#include "mose/eval/questions.h"

namespace mose::eval::report {
namespace {

namespace fs = std::filesystem;

// Of one task: the questions, and each arm's answers to them.
struct TaskData {
  std::vector<Question> questions;
  std::map<std::string, size_t> index;  // by scene
  std::vector<TaskAnswers> answers;     // one an arm; empty for an arm without answers

  const std::string* answer(size_t arm, const std::string& id) const {
    const auto it = index.find(id);
    if (it == index.end() || answers[arm].answers.empty()) return nullptr;
    const auto& text = answers[arm].answers[it->second];
    return text ? &*text : nullptr;
  }
};

TaskData load_task(const ReportSpec& spec, const std::string& task, const std::vector<Arm>& arms) {
  TaskData data;
  data.questions = load_questions(spec.coda, spec.split, task);
  for (size_t i = 0; i < data.questions.size(); ++i) data.index[data.questions[i].id] = i;
  for (const Arm& arm : arms) {
    data.answers.push_back(arm.spec->answers.empty()
                               ? TaskAnswers{}
                               : load_answers(arm.spec->answers, task, data.questions));
  }
  return data;
}

std::string fact_text(const std::string& fact) {
  const size_t at = fact.find_first_of("@:");
  if (at == std::string::npos) return html_escape(spoken(fact));
  const std::string first = spoken(fact.substr(0, at)), second = spoken(fact.substr(at + 1));
  return str(html_escape(first), fact[at] == '@' ? " @ " : ": ", html_escape(second));
}

std::string chip(const char* kind, const char* mark, const std::string& fact) {
  return str("<span class=\"chip ", kind, "\">", mark, fact_text(fact), "</span>");
}

std::string chips(const std::set<std::string>& predicted, const std::set<std::string>& expected) {
  std::string out;
  for (const std::string& f : predicted) {
    if (expected.count(f)) out += chip("right", "&#10003;&nbsp;", f);
  }
  for (const std::string& f : predicted) {
    if (!expected.count(f)) out += chip("wrong", "&#10007;&nbsp;", f);
  }
  for (const std::string& f : expected) {
    if (!predicted.count(f)) out += chip("missed", "", f);
  }
  return out.empty() ? "" : str("<div class=\"chips\">", out, "</div>\n");
}

std::string true_chips(const std::set<std::string>& facts) {
  std::string out;
  for (const std::string& f : facts) out += chip("", "", f);
  return out.empty() ? "" : str("<div class=\"chips\">", out, "</div>\n");
}

std::string part(const char* title, const std::string* text, const std::string& facts) {
  const bool empty = !text || trim(*text).empty();
  return str("<h5>", title, "</h5><p", empty ? " class=\"quiet\">" : ">",
             !text   ? "no answer"
             : empty ? "empty answer"
                     : html_escape(trim(*text)),
             "</p>", facts);
}

std::string picture(const ReportSpec& spec, const coda::Annotation& a) {
  const fs::path file = fs::path(spec.coda) / a.image;
  const coda::ImageSize size = coda::image_size(file);
  const double unit = static_cast<double>(size.width) / 100;
  std::string boxes, caption;
  for (const coda::Region& region : a.regions) {
    const coda::Box& b = region.box;
    const double side = 4 * unit, top = std::max(0.0, b.y - side);
    boxes += str("<g><title>", html_escape(region.index), ": ",
                 html_escape(spoken(region.category_name)), "</title><rect x=\"", b.x, "\" y=\"",
                 b.y, "\" width=\"", b.w, "\" height=\"", b.h, "\"/><rect class=\"badge\" x=\"",
                 b.x, "\" y=\"", top, "\" width=\"", side, "\" height=\"", side, "\"/><text x=\"",
                 b.x + side / 2, "\" y=\"", top + 0.75 * side, "\" font-size=\"", 0.78 * side,
                 "\" text-anchor=\"middle\">", html_escape(region.index), "</text></g>\n");
    caption += str("<span><b>", html_escape(region.index), "</b> ",
                   html_escape(spoken(region.category_name)), "</span>");
  }
  const char* type = a.image.extension() == ".png" ? "image/png" : "image/jpeg";
  return str("<figure><div class=\"picture\"><img alt=\"scene ", html_escape(a.id), "\" width=\"",
             size.width, "\" height=\"", size.height, "\" src=\"data:", type, ";base64,",
             base64(read_file(file)), "\"><svg viewBox=\"0 0 ", size.width, " ", size.height,
             "\" aria-hidden=\"true\">\n", boxes, "</svg></div>",
             caption.empty() ? "" : str("<figcaption>", caption, "</figcaption>"), "</figure>\n");
}

}  // namespace

std::string sample_section(const ReportSpec& spec, const std::vector<Arm>& arms) {
  if (spec.coda.empty() || spec.samples == 0) return "";
  const TaskData general = load_task(spec, coda::kTasks[0], arms),
                 plan = load_task(spec, coda::kTasks[2], arms);
  std::unique_ptr<FactReference> facts;
  if (fs::is_directory(fs::path(spec.coda) / "facts" / coda::split_name(spec.split))) {
    const fs::path lexicon =
        spec.lexicon.empty() ? resource("facts/driving.json") : fs::path(spec.lexicon);
    facts = std::make_unique<FactReference>(spec.coda, spec.split, FactLexicon::load(lexicon));
  }
  const auto files = coda::list_annotations(spec.coda, spec.split);
  const size_t count = std::min(files.size(), static_cast<size_t>(spec.samples));
  std::string out;
  for (size_t k = 0; k < count; ++k) {
    const coda::Annotation a =
        coda::load_annotation(files[(2 * k + 1) * files.size() / (2 * count)]);
    const Question describe{coda::kTasks[0], a.id}, suggest{coda::kTasks[2], a.id};
    FactSet expected, expected_plan;
    if (facts) {
      expected = facts->expected(describe);
      expected_plan = facts->expected(suggest);
    }
    out += str("<div class=\"panel sample\"><div class=\"top\">", picture(spec, a),
               "<div class=\"answer\"><h4>Reference &middot; ", html_escape(a.id), "</h4>",
               part("Description and reasoning", &a.summary,
                    true_chips(expected.describe) + true_chips(expected.reason)),
               part("Plan", &a.driving_suggestion, true_chips(expected_plan.plan)),
               "</div></div>\n<div class=\"arms\">\n");
    for (size_t i = 0; i < arms.size(); ++i) {
      if (arms[i].spec->answers.empty()) continue;
      const std::string *text = general.answer(i, a.id), *action = plan.answer(i, a.id);
      std::string text_chips, action_chips;
      if (facts) {
        const FactSet said = facts->predicted(describe, text ? *text : "");
        text_chips = chips(said.describe, expected.describe) + chips(said.reason, expected.reason);
        action_chips =
            chips(facts->predicted(suggest, action ? *action : "").plan, expected_plan.plan);
      }
      out += str("<div class=\"answer\"><h4>", arm_tag(arms[i]), "</h4>",
                 part("Description and reasoning", text, text_chips),
                 part("Plan", action, action_chips), "</div>\n");
    }
    out += "</div></div>\n";
  }
  std::string legend;
  if (facts) {
    legend =
        "<div class=\"legend\"><span class=\"chip right\">&#10003; stated and true</span>"
        "<span class=\"chip wrong\">&#10007; stated, not true</span>"
        "<span class=\"chip missed\">true, not stated</span></div>\n";
  }
  return str("<section id=\"samples\"><h2>Samples</h2>\n<p class=\"sub\">", count,
             count == 1 ? " scene" : " scenes", " evenly spaced over the ",
             html_escape(coda::split_name(spec.split)),
             " split, not chosen by score. Red boxes are the annotated regions.</p>\n", legend, out,
             "</section>\n");
}

}  // namespace mose::eval::report
