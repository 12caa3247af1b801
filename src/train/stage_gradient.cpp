// The training loop of every stage that computes gradients through the model.
#include <torch/torch.h>

#include <cmath>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/patterns.h"
#include "mose/core/progress.h"
#include "mose/core/random.h"
#include "mose/core/signals.h"
#include "mose/optim/adamw.h"
#include "mose/optim/clip.h"
#include "mose/train/losses.h"
#include "train/session.h"

namespace mose::train {
namespace {

double number(const torch::Tensor& value) { return value.defined() ? value.item<double>() : 0.0; }

// Everything a line of metrics.jsonl says of the losses; segment losses are means over their tokens.
void describe(Json& line, const LossReport& report, const StepWeights& weights) {
  line["loss"] = number(report.total);
  if (weights.lm != 0) {
    line["loss_lm"] = number(report.lm);
    const char* names[] = {"loss_describe", "loss_reason", "loss_plan"};
    for (size_t g = 0; g < 3; ++g) {
      if (report.segment_rows[g] > 0) {
        line[names[g]] = number(report.segment_sum[g]) / static_cast<double>(report.segment_rows[g]);
      }
    }
  }
  if (weights.skill != 0) line["loss_skill"] = number(report.skill);
  if (weights.stage != 0) line["loss_stage"] = number(report.stage);
  if (weights.balance != 0) line["loss_balance"] = number(report.balance);
  if (weights.z != 0) line["loss_z"] = number(report.z);
  if (weights.region != 0) line["loss_region"] = number(report.region);
  if (weights.words != 0) line["loss_words"] = number(report.words);
}

std::string progress_note(const Json& line) {
  std::string note = str("loss ", fixed(line.at("loss").get<double>(), 3));
  std::string segments;
  const std::pair<const char*, const char*> parts[] = {
      {"D", "loss_describe"}, {"R", "loss_reason"}, {"P", "loss_plan"}};
  for (const auto& [letter, key] : parts) {
    if (line.contains(key)) segments += str(segments.empty() ? "" : " ", letter, " ", fixed(line[key].get<double>(), 2));
  }
  if (!segments.empty()) note += " (" + segments + ")";
  for (const auto& [name, key] : {std::pair("region", "loss_region"), std::pair("words", "loss_words")}) {
    if (line.contains(key)) note += str(", ", name, " ", fixed(line[key].get<double>(), 2));
  }
  if (line.contains("loss_skill")) note += str(", skill ", fixed(line["loss_skill"].get<double>(), 2));
  return note;
}

Json validate(Session& session, const StepWeights& weights) {
  const torch::NoGradGuard no_grad;
  LossReport sum;
  double batches = 0;
  for (const auto& batch : session.validation) {
    sum.add(batch_loss(*session.bundle.model, batch, weights, normalisers(batch, weights), &session.words).report);
    ++batches;
  }
  for (auto* part : sum.tensors()) {
    if (part->defined()) *part = *part / batches;
  }
  Json line = {{"step", session.state.step}};
  describe(line, sum, weights);
  return line;
}

}  // namespace

std::vector<optim::NamedParameter> select_trainable(Session& session, const StageConfig& stage) {
  const auto patterns = trainable_patterns(stage);
  std::vector<optim::NamedParameter> out;
  for (auto& item : session.bundle.model->named_parameters()) {
    const bool train = chosen(item.key(), patterns);
    item.value().set_requires_grad(train);
    if (train) out.push_back({item.key(), item.value()});
  }
  if (out.empty() && !patterns.empty()) {
    throw UsageError(str("stage ", stage.name, ": no parameter matches trainable = ", join(patterns, ", ")));
  }
  for (const auto& [name, lora] : session.adapters) {
    out.push_back({name + ".lora_A", lora->A});
    out.push_back({name + ".lora_B", lora->B});
  }
  return out;
}

void run_gradient_stage(Session& session, const StageConfig& stage,
                        const std::map<std::string, torch::Tensor>& optimizer_state) {
  auto& model = *session.bundle.model;
  auto& state = session.state;
  if (stage.lora) attach_adapters(session, stage);
  optim::AdamW optimizer(select_trainable(session, stage), stage.optimizer);
  int64_t trained = 0;
  for (const auto& parameter : optimizer.parameters()) trained += parameter.tensor.numel();
  if (!optimizer_state.empty()) optimizer.load_state(optimizer_state);
  auto loader = make_loader(session, session.train_samples, &stage);
  if (!state.loader.is_null()) loader.set_state(state.loader);
  log::info("stage ", stage.name, " (", stage.kind, "): ", stage.steps, " steps, ", human_count(static_cast<double>(trained)),
            " trainable parameters, ", loader.samples(), " samples");

  auto checkpoint = [&] {
    state.loader = loader.state();
    state.seconds = session.seconds();
    save_checkpoint(session.run, session.bundle, optimizer.state(), state, session.recipe.keep_checkpoints, session.adapters,
                    stage.lora.value_or(nn::LoraConfig()));
  };
  const bool every_step_checked = session.device.is_cpu();  // elsewhere it would make the device wait
  Progress progress(stage.name, stage.steps, "steps", state.stage_step);
  double tokens = 0, supervised = 0;
  auto since = std::chrono::steady_clock::now();
  while (state.stage_step < stage.steps) {
    const StepWeights weights = step_weights(stage.loss, state.stage_step, stage.steps);
    // The masks of a step follow from its number, so a resumed run draws the same.
    if (stage.lora && stage.lora->dropout > 0) {
      torch::manual_seed(RandomStream(session.recipe.seed(), str("dropout/", stage.name, "/", state.stage_step)).next());
      nn::set_dropout(session.adapters, stage.lora->dropout);
    }
    // A global batch is computed in `accumulate` parts, each normalised by the whole.
    std::vector<data::Batch> parts;
    Normalisers whole;
    for (int64_t i = 0; i < stage.accumulate; ++i) {
      parts.push_back(data::to_device(loader.next(), session.device));
      whole.add(normalisers(parts.back(), weights));
      tokens += static_cast<double>(parts.back().plan.tokens());
    }
    LossReport report;
    for (const auto& part : parts) {
      auto result = batch_loss(model, part, weights, whole, &session.words);
      if (result.loss.requires_grad()) result.loss.backward();
      report.add(result.report);
    }
    nn::set_dropout(session.adapters, 0);  // validation sees all
    supervised += report.supervised;
    const auto norm = optim::clip_gradients(optimizer.parameters(), stage.clip);
    const bool log_now = (state.step + 1) % session.recipe.log_every == 0 || state.stage_step + 1 == stage.steps;
    if (every_step_checked || log_now) {
      const double loss = number(report.total);
      if (!std::isfinite(loss) || !std::isfinite(norm.item<double>())) {
        optimizer.zero_grad();
        if (every_step_checked) checkpoint();  // the weights are still those of the last good step
        throw DivergenceError(str("stage ", stage.name, ", step ", state.step + 1, ": loss ", loss, ", gradient norm ",
                                  norm.item<double>(), " (not finite); ",
                                  every_step_checked ? "a checkpoint of the step before was written"
                                                     : "the last checkpoint holds good weights",
                                  "; try a lower learning rate or a longer warm-up"));
      }
    }
    const double lr = stage.lr * optim::schedule_value(stage.schedule, state.stage_step, stage.steps);
    optimizer.step(lr);
    optimizer.zero_grad();
    ++state.step;
    ++state.stage_step;
    if (log_now) {
      const auto now = std::chrono::steady_clock::now();
      const double seconds = std::chrono::duration<double>(now - since).count();
      Json line = {{"step", state.step}, {"stage", stage.name}, {"epoch", loader.epoch()}};
      describe(line, report, weights);
      line["lr"] = lr;
      line["gradient_norm"] = norm.item<double>();
      line["tokens_per_second"] = tokens / seconds;
      line["supervised_per_second"] = supervised / seconds;
      line["seconds"] = session.seconds();
      session.metrics->write(line, "train");
      progress.set(state.stage_step, progress_note(line));
      tokens = supervised = 0;
      since = now;
    }
    const bool last = state.stage_step == stage.steps;
    const int64_t validate_every = session.recipe.validate_every, checkpoint_every = session.recipe.checkpoint_every;
    if (last || (validate_every > 0 && state.step % validate_every == 0)) {
      Json line = validate(session, weights);
      line["stage"] = stage.name;
      line["validation"] = true;
      session.metrics->write(line, "validation");
      log::info("validation at step ", state.step, ": ", progress_note(line));
      since = std::chrono::steady_clock::now();
      tokens = supervised = 0;
    }
    if (stop_signal() != 0) {
      checkpoint();
      throw_if_stopped();
    }
    if (!last && checkpoint_every > 0 && state.step % checkpoint_every == 0) checkpoint();
  }
  if (stage.lora) finish_adapters(session, stage);
  if (loader.skipped() > 0) log::warn("stage ", stage.name, ": ", loader.skipped(), " bad samples were skipped");
}

}  // namespace mose::train
