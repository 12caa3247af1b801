#include "mose/infer/predict.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "infer/journal.h"
#include "infer/predict_items.h"
#include "infer/prefetch.h"
#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"
#include "mose/core/signals.h"
#include "mose/data/encode.h"
#include "mose/infer/continuous.h"

namespace mose::infer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

data::EncodeConfig encode_config(const models::Bundle& bundle) {
  data::EncodeConfig encode;
  encode.chat_template = bundle.model->config().chat_template;
  return encode;
}

// Names a model by its settings and by some thousand values of every tensor, evenly spread, which are read at once also where
// all of them would take minutes.
std::string fingerprint(const models::Bundle& bundle) {
  constexpr int64_t kValues = 1024;
  const torch::NoGradGuard no_grad;
  Sha256 hash;
  hash.update(to_json_config(bundle.model->config()).dump());
  hash.update(to_json_config(bundle.preprocess).dump());
  hash.update(bundle.taxonomy.to_json().dump());
  for (const auto& item : bundle.model->named_parameters()) {
    const auto& value = item.value();
    hash.update(mose::str(item.key(), " ", value.scalar_type(), " ", value.sizes(), "\n"));
    if (value.numel() == 0) continue;
    const auto some = value.flatten().slice(0, 0, value.numel(), std::max<int64_t>(1, value.numel() / kValues)).contiguous().cpu();
    hash.update(some.const_data_ptr(), some.nbytes());
  }
  return hash.hex();
}

// What the answers follow from, rounding aside.
Json prediction_of(const models::Bundle& bundle, const PredictOptions& options, const std::vector<Item>& items) {
  Sha256 questions;
  for (const Item& item : items) {
    questions.update(str(item.task, "\n", item.scene, "\n", item.region, "\n", item.image, "\n", item.question, "\n"));
  }
  return {{"model", fingerprint(bundle)}, {"split", options.split}, {"form", options.form}, {"limit", options.limit},
          {"blind", options.blind}, {"shuffled_images", options.shuffled},
          {"shuffle_seed", options.shuffled ? Json(options.shuffle_seed) : Json()}, {"oracle_category", options.oracle_category},
          {"sampling", to_json_config(options.sampling)}, {"questions", questions.hex()}};
}

// The questions without an answer, those about one picture together.
std::vector<std::vector<size_t>> by_picture(const std::vector<Item>& items, bool blind, const std::vector<StoredAnswer>& stored) {
  std::vector<bool> answered(items.size());
  for (const auto& answer : stored) answered[answer.item] = true;
  std::vector<std::vector<size_t>> groups;
  std::unordered_map<std::string, size_t> group_of;
  for (size_t i = 0; i < items.size(); ++i) {
    if (answered[i]) continue;
    const auto [place, added] = group_of.emplace(blind ? "" : items[i].image, groups.size());
    if (added) groups.emplace_back();
    groups[place->second].push_back(i);
  }
  return groups;
}

// Reads the picture of these questions and encodes them.
std::vector<Request> make_requests(const models::Bundle& bundle, const PredictOptions& options, const std::vector<Item>& items,
                                   const std::vector<size_t>& group) {
  const auto tiling = bundle.model->config().tiling();
  const auto picture = options.blind ? vision::blank_picture(bundle.preprocess, tiling)
                                     : vision::load_picture(options.root / items[group.front()].image, bundle.preprocess, tiling);
  std::vector<Request> requests;
  for (const size_t i : group) {
    const auto tokens = data::encode_prompt(items[i].question, bundle.tokenizer, encode_config(bundle), picture.layout.rows());
    requests.push_back({i, {tokens, {picture}}, {}});
  }
  return requests;
}

void answer_items(models::Bundle& bundle, const PredictOptions& options, const std::vector<Item>& items,
                  const std::vector<std::vector<size_t>>& groups, const std::function<void(const Answer&)>& done) {
  GenerateOptions generation;
  generation.sampling = options.sampling;
  generation.graphs = options.graphs;
  generation.end_token = data::end_of_turn_id(bundle.tokenizer, encode_config(bundle));
  generation.on_token = [](size_t, int64_t) { throw_if_stopped(); };
  size_t questions = 0;
  for (const auto& group : groups) questions += group.size();
  const auto ahead = static_cast<size_t>(4 * options.workers);
  Prefetch<std::vector<Request>> pictures(groups.size(), options.workers, ahead, [&](size_t g) {
    return make_requests(bundle, options, items, groups[g]);
  });
  std::vector<Request> asked;
  size_t next = 0;
  const auto ask = [&]() -> std::optional<Request> {
    throw_if_stopped();
    if (next == asked.size()) {
      auto requests = pictures.next();
      if (!requests) return std::nullopt;
      asked = std::move(*requests);
      next = 0;
    }
    return std::move(asked[next++]);
  };
  const auto places = std::min<int64_t>(options.batch, std::max<int64_t>(1, static_cast<int64_t>(questions)));
  const auto work = answer_all(*bundle.model, places, generation, ask, done);
  log::info(work.answers, " answers in ", work.forward_passes, " passes of ", work.forward_passes > 0 ? work.rows / work.forward_passes : 0,
            " rows on average; ", fixed(pictures.wait_seconds(), 1), " s spent waiting for pictures");
}

}  // namespace

PredictReport predict(models::Bundle& bundle, const PredictOptions& options) {
  const auto start = Clock::now();
  if (options.blind && options.shuffled) throw UsageError("predict: blind and shuffled exclude each other");
  if (options.form != "single_turn" && options.form != "multi_turn") {
    throw UsageError(str("predict: form \"", options.form, "\": expected single_turn or multi_turn"));
  }
  if (options.batch < 1 || options.workers < 1) throw UsageError("predict: expected batch and workers of at least 1");
  const auto items = list_items(bundle.taxonomy, options);
  const auto file = options.out / "predict.partial.jsonl";
  Journal journal(file, prediction_of(bundle, options, items), items.size());
  auto answers = journal.stored();
  PredictReport report;
  report.resumed = static_cast<int64_t>(answers.size());
  const double before = answers.empty() ? 0 : answers.back().seconds;
  if (!answers.empty()) log::info(file.string(), ": ", answers.size(), " of ", items.size(), " answers are there already");
  {
    Progress progress(options.blind ? "predict (blind)" : options.shuffled ? "predict (shuffled)" : "predict",
                      static_cast<int64_t>(items.size()), "answers", report.resumed);
    try {
      answer_items(bundle, options, items, by_picture(items, options.blind, answers), [&](const Answer& a) {
        answers.push_back({a.index, a.generation.tokens, a.generation.finished, a.prompt_tokens, a.shared_tokens, a.image_encodings,
                           before + seconds_since(start)});
        journal.append(answers.back());
        progress.advance();
      });
    } catch (const Interrupted&) {
      journal.close();
      if (!answers.empty()) log::warn(answers.size(), " of ", items.size(), " answers are in ", file.string(), "; the same command goes on");
      throw;
    }
  }
  std::vector<std::string> texts(items.size());
  for (const StoredAnswer& a : answers) {
    const Item& item = items[a.item];
    texts[a.item] = bundle.tokenizer.decode(a.tokens);
    const auto tokens = static_cast<int64_t>(a.tokens.size());
    ++report.answers;
    if (!a.finished) ++report.unfinished;
    if (!item.region.empty()) ++report.regions;
    else if (item.task != coda::kTasks[2]) ++report.images;
    report.image_encodings += a.image_encodings;
    report.prompt_tokens += a.prompt_tokens;
    report.shared_tokens += a.shared_tokens;
    report.generated_tokens += tokens;
    report.decoder_passes += tokens + (a.finished ? 1 : 0);
  }
  write_answers(bundle.taxonomy, options, items, texts);
  report.seconds = before + seconds_since(start);
  save_json(options.out / "predict.json",
            {{"split", options.split}, {"form", options.form}, {"blind", options.blind},
             {"shuffled_images", options.shuffled},
             {"shuffle_seed", options.shuffled ? Json(options.shuffle_seed) : Json()},
             {"oracle_category", options.oracle_category}, {"images", report.images}, {"regions", report.regions},
             {"answers", report.answers}, {"resumed_answers", report.resumed}, {"unfinished_answers", report.unfinished},
             {"image_encodings", report.image_encodings}, {"prompt_tokens", report.prompt_tokens},
             {"shared_prompt_tokens", report.shared_tokens},
             {"generated_tokens", report.generated_tokens}, {"decoder_passes", report.decoder_passes},
             {"seconds", report.seconds}, {"sampling", to_json_config(options.sampling)}});
  journal.remove();
  if (report.unfinished > 0) {
    log::warn(report.unfinished, " answers were cut at max_new_tokens = ", options.sampling.max_new_tokens);
  }
  return report;
}

}  // namespace mose::infer
