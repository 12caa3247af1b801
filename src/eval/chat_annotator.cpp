#include "mose/eval/chat_annotator.h"

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

using skills::Sentence;

std::string skill_list(const LabelPrompt& prompt, const skills::Taxonomy& taxonomy) {
  std::string out;
  for (size_t g = 0; g < taxonomy.stages().size(); ++g) {
    out += str(g == 0 ? "" : "\n", taxonomy.stages()[g].name);
    for (const skills::Skill& skill : taxonomy.skills()) {
      if (skill.stage == static_cast<int64_t>(g)) out += str("\n- ", skill.name, ": ", prompt.skills.at(skill.name));
    }
  }
  return out;
}

std::string sentence_list(const std::string& answer, const std::vector<Sentence>& sentences, const skills::Taxonomy& taxonomy) {
  std::string out;
  for (size_t i = 0; i < sentences.size(); ++i) {
    const std::string stage = sentences[i].stage < 0 ? "" : str("[", taxonomy.stages()[static_cast<size_t>(sentences[i].stage)].name, "] ");
    out += str(i == 0 ? "" : "\n", i + 1, " ", stage, sentences[i].span.of(answer));
  }
  return out;
}

// The judge's machinery, told to label: a reply that can be read is worth 100.
class Labeller final : public OpenAiJudge {
 public:
  Labeller(OpenAiOptions server, const std::string& model, std::shared_ptr<const Protocol> pin, std::shared_ptr<VerdictCache> cache,
           const LabelPrompt& prompt, const skills::Annotator& rules)
      : OpenAiJudge(std::move(server), model, std::move(pin), std::move(cache), nullptr, 1), prompt_(prompt), rules_(rules) {}

  std::string body(const JudgeRequest& request) const override { return request.question.reference; }
  std::optional<double> read(const JudgeRequest& request, const std::string& reply) const override {
    std::string problem;
    const auto labelled = skills::label_answer(rules_, request.prediction, request.question.task, request.question.category);
    const auto asked = skills::answer_sentences(request.prediction, labelled.segments, rules_.taxonomy());
    if (!read_labels(reply, asked, rules_.taxonomy(), problem)) return {};
    return 100;
  }
  std::string unreadable() const override { return "the model's reply holds no line of known skills for every sentence"; }

  // The whole request, which the key of the cache depends on.
  std::string request_text(const std::string& answer, const std::vector<Sentence>& sentences) const {
    std::string content = replace_all(prompt_.form, "{skills}", skill_list(prompt_, rules_.taxonomy()));
    content = replace_all(content, "{sentences}", sentence_list(answer, sentences, rules_.taxonomy()));
    const Json messages = {{{"role", "system"}, {"content", prompt_.system}}, {{"role", "user"}, {"content", content}}};
    return Json({{"model", model()}, {"messages", messages}, {"temperature", 0}}).dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  const LabelPrompt& prompt_;
  const skills::Annotator& rules_;
};

}  // namespace

LabelPrompt LabelPrompt::load(const std::filesystem::path& file, const skills::Taxonomy& taxonomy) {
  const Json json = load_json(file);
  const std::string where = file.string();
  LabelPrompt out;
  out.name = json_string(json, "name", where);
  out.system = json_string(json, "system", where);
  out.form = json_string(json, "form", where);
  out.confidence = json_number(json, "confidence", where);
  if (!(out.confidence > 0 && out.confidence <= 1)) throw DataError(str(where, ": field \"confidence\": expected (0, 1], found ", out.confidence));
  for (const char* part : {"{skills}", "{sentences}"}) {
    const size_t at = out.form.find(part);
    if (at == std::string::npos || out.form.find(part, at + 1) != std::string::npos) {
      throw DataError(str(where, ": field \"form\": expected ", part, " once"));
    }
  }
  for (const auto& [name, meaning] : json_object(json, "skills", where).items()) {
    if (!meaning.is_string()) throw DataError(str(where, ": skills.", name, ": expected text, found ", meaning.type_name()));
    if (taxonomy.skill_index(name) < 0) throw DataError(str(where, ": skills.", name, ": the taxonomy has no such skill"));
    out.skills[name] = meaning.get<std::string>();
  }
  for (const skills::Skill& skill : taxonomy.skills()) {
    if (!out.skills.contains(skill.name)) throw DataError(str(where, ": skills.", skill.name, " is missing: what this skill of the taxonomy means"));
  }
  return out;
}

std::optional<std::vector<std::vector<int64_t>>> read_labels(const std::string& reply, const std::vector<Sentence>& sentences,
                                                             const skills::Taxonomy& taxonomy, std::string& problem) {
  std::vector<std::vector<int64_t>> out(sentences.size());
  std::vector<bool> seen(sentences.size(), false);
  const auto fail = [&problem](const std::string& why) {
    problem = why;
    return std::nullopt;
  };
  for (const std::string& raw : split(reply, '\n')) {
    const std::string line = trim(raw);
    const size_t digits = std::min(line.find_first_not_of("0123456789"), line.size());
    if (digits == 0 || digits > 6 || digits == line.size() || line[digits] != ':') continue;  // no line of labels
    const auto number = static_cast<size_t>(std::stoul(line.substr(0, digits)));
    if (number < 1 || number > sentences.size()) return fail(str("sentence ", number, " of ", sentences.size()));
    if (seen[number - 1]) return fail(str("sentence ", number, " comes twice"));
    seen[number - 1] = true;
    const std::string names = to_lower(trim(line.substr(digits + 1)));
    if (names == "none" || names == "none.") continue;
    for (const std::string& part : split(names, ',')) {
      const std::string name = trim(part);
      const int64_t skill = taxonomy.skill_index(name);
      if (skill < 0) return fail(str("sentence ", number, ": \"", name, "\" is no skill"));
      const int64_t stage = sentences[number - 1].stage;
      if (stage >= 0 && taxonomy.skills()[static_cast<size_t>(skill)].stage != stage) {
        return fail(str("sentence ", number, ": ", name, " is of another stage"));
      }
      auto& of_sentence = out[number - 1];
      if (std::find(of_sentence.begin(), of_sentence.end(), skill) == of_sentence.end()) of_sentence.push_back(skill);
    }
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (missing != seen.end()) return fail(str("sentence ", missing - seen.begin() + 1, " has no line"));
  return out;
}

std::vector<ChatLabels> label_by_chat(const OpenAiOptions& server, const std::string& model, const LabelPrompt& prompt,
                                      const skills::Annotator& rules, std::shared_ptr<VerdictCache> cache,
                                      const std::vector<AnswerToLabel>& answers) {
  const auto& taxonomy = rules.taxonomy();
  auto pin = std::make_shared<Protocol>();
  pin->name = prompt.name;
  pin->sha256 = "labels";  // the request itself, which the key holds, says all
  Labeller labeller(server, model, pin, std::move(cache), prompt, rules);

  std::vector<ChatLabels> out(answers.size());
  std::vector<std::vector<Sentence>> asked(answers.size());
  std::vector<Question> questions(answers.size());
  std::vector<JudgeRequest> requests;
  std::vector<size_t> of_request;
  for (size_t i = 0; i < answers.size(); ++i) {
    const AnswerToLabel& answer = answers[i];
    out[i].labelled = skills::label_answer(rules, answer.text, answer.task, answer.category);
    std::erase_if(out[i].labelled.labels, [](const skills::Label& label) { return !label.rule.starts_with("struct."); });
    asked[i] = skills::answer_sentences(answer.text, out[i].labelled.segments, taxonomy);
    if (asked[i].empty()) continue;
    Question& q = questions[i];
    q.task = answer.task;
    q.category = answer.category;
    q.reference = labeller.request_text(answer.text, asked[i]);
    requests.push_back({q, answer.text});
    of_request.push_back(i);
  }
  const auto verdicts = requests.empty() ? std::vector<Verdict>() : labeller.rate_all(requests);
  for (size_t r = 0; r < verdicts.size(); ++r) {
    const size_t i = of_request[r];
    std::string problem;
    const auto found = read_labels(verdicts[r].reply, asked[i], taxonomy, problem);
    if (!found) {
      out[i].problem = verdicts[r].reply.empty() ? verdicts[r].reason : str(verdicts[r].reason, ": ", problem);
      continue;
    }
    for (size_t n = 0; n < found->size(); ++n) {
      for (const int64_t skill : (*found)[n]) {
        const auto& span = asked[i][n].span;
        out[i].labelled.labels.push_back({span.begin, span.end, taxonomy.skills()[static_cast<size_t>(skill)].stage, skill, "chat." + model, prompt.confidence});
      }
    }
  }
  return out;
}

}  // namespace mose::eval
