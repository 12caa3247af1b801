#include "eval/score_details.h"

#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/eval/cider.h"
#include "mose/eval/fact_metrics.h"
#include "mose/eval/mentions.h"
#include "mose/eval/text_metrics.h"

namespace mose::eval {
namespace {

struct TextScore {
  BleuStatistics corpus;
  double rouge = 0, sentence = 0;
  int64_t count = 0;
  TokenLists predictions, references;  // CIDEr weighs n-grams by the whole set

  void add(const std::string& prediction, const std::string& reference) {
    const BleuStatistics statistics = bleu_statistics(prediction, reference);
    corpus += statistics;
    sentence += bleu(statistics, true);
    rouge += rouge_l(prediction, reference).f1;
    ++count;
    predictions.push_back(rouge_tokens(prediction));
    references.push_back(rouge_tokens(reference));
  }
  TextScore& operator+=(const TextScore& other) {
    corpus += other.corpus;
    rouge += other.rouge;
    sentence += other.sentence;
    count += other.count;
    predictions.insert(predictions.end(), other.predictions.begin(), other.predictions.end());
    references.insert(references.end(), other.references.begin(), other.references.end());
    return *this;
  }
  Json to_json() const {
    if (count == 0) {
      return {{"rouge_l", nullptr},
              {"bleu", nullptr},
              {"sentence_bleu", nullptr},
              {"cider", nullptr},
              {"count", 0}};
    }
    const double n = static_cast<double>(count);
    return {{"rouge_l", 100 * rouge / n},
            {"bleu", bleu(corpus, false)},
            {"sentence_bleu", sentence / n},
            {"cider", cider_d(predictions, references).mean},
            {"count", count}};
  }
};

}  // namespace

void add_facts(const FactReference& reference, const Tasks& tasks, const Answers& answers,
               const std::string& prefix, Json& out) {
  FactScore describe, reason, plan, region_describe, region_reason;
  for (size_t t = 0; t < 3; ++t) {
    for (size_t i = 0; i < tasks[t].questions.size(); ++i) {
      const Question& question = tasks[t].questions[i];
      const FactSet expected = reference.expected(question);
      const FactSet predicted = reference.predicted(question, answer_or_empty(answers[t], i));
      if (t == 2) {
        plan.add(predicted.plan, expected.plan);
      } else {
        (t == 0 ? describe : region_describe).add(predicted.describe, expected.describe);
        (t == 0 ? reason : region_reason).add(predicted.reason, expected.reason);
      }
    }
  }
  out[prefix + "facts"] = {
      {"describe", describe.to_json()}, {"reason", reason.to_json()}, {"plan", plan.to_json()}};
  out[prefix + "region_facts"] = {{"describe", region_describe.to_json()},
                                  {"reason", region_reason.to_json()}};
}

void add_text(const Tasks& tasks, const Answers& answers, const std::string& prefix, Json& out) {
  const MentionLexicon lexicon = MentionLexicon::load(resource("facts/coda_mentions.json"));
  TextScore all;
  Json by_task = Json::object(), mentions = Json::object();
  for (size_t t = 0; t < 3; ++t) {
    TextScore score;
    MentionScore said(lexicon);
    for (size_t i = 0; i < tasks[t].questions.size(); ++i) {
      const std::string& reference = tasks[t].questions[i].reference;
      if (trim(reference).empty()) continue;
      const std::string prediction = answer_or_empty(answers[t], i);
      score.add(prediction, reference);
      said.add(prediction, reference);
    }
    by_task[tasks[t].name] = score.to_json();
    mentions[tasks[t].name] = said.to_json();
    all += score;
  }
  Json text = all.to_json();
  text.update(by_task);
  out[prefix + "text"] = std::move(text);
  out[prefix + "mentions"] = std::move(mentions);
}

}  // namespace mose::eval
