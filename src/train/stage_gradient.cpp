// The training loop of every stage that computes gradients through the model.
#include <torch/torch.h>

#include <cmath>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/patterns.h"
#include "mose/core/progress.h"
#include "mose/core/random.h"
#include "mose/core/signals.h"
#include "mose/dist/optimizer.h"
#include "mose/train/losses.h"
#include "mose/train/routing_report.h"
#include "train/flops.h"
#include "train/parallel.h"
#include "train/peak_memory.h"
#include "train/session.h"
#include "train/stall_watch.h"
#include "train/step_report.h"
#include "train/whole_model.h"

namespace mose::train {
namespace {

Json validate(Session& session, const StepWeights& weights, const Compute& compute) {
  const torch::NoGradGuard no_grad;
  LossReport sum;
  const size_t batches = session.validation.size(), world = static_cast<size_t>(session.world->size());
  for (size_t round = 0; round < batches; round += world) {
    const size_t i = round + static_cast<size_t>(session.world->rank());
    if (i >= batches) {
      if (session.experts.parallel && weights.language()) pass_without_rows(session);
      continue;
    }
    const auto& batch = session.validation[i];
    sum.add(batch_loss(*session.bundle.model, batch, weights, normalisers(batch, weights), &session.words, compute).report);
  }
  sum_reports(*session.world, sum, session.device);
  for (auto* part : sum.tensors()) {
    if (part->defined()) *part = *part / static_cast<double>(batches);
  }
  Json line = {{"step", session.state.step}};
  describe(line, sum, weights);
  return line;
}

// The model of the least validation loss stays in RUN/best.
void keep_best(Session& session, const StageConfig& stage, const Json& line) {
  const std::string& key = session.recipe.best;
  if (key.empty()) return;
  if (!line.contains(key)) {
    log::warn("best = ", key, ": validation of stage ", stage.name, " has no such loss; nothing is kept");
    return;
  }
  Json& best = session.state.best;
  const double value = line[key].get<double>();
  // A loss of another stage weighs other parts: the best of each stage is sought anew.
  if (!best.is_null() && best["stage"] == stage.name && best["value"].get<double>() <= value) return;
  best = {{"stage", stage.name}, {"step", session.state.step}, {"value", value}};
  const auto contents = whole_model(session, stage.lora.value_or(nn::LoraConfig()));
  if (session.keeps()) save_best(session.run, session.bundle, contents);
  session.world->barrier();
}

// This process's parts of one global batch.
struct Parts {
  std::vector<data::Batch> batches;  // one may have no samples
  Normalisers own;
  double tokens = 0, supervised = 0, flops = 0;

  Parts(data::Loader& loader, int64_t count, const StepWeights& weights, const StepFlops& cost) {
    for (int64_t i = 0; i < count; ++i) {
      const auto& part = batches.emplace_back(loader.next());
      if (part.samples == 0) continue;
      own.add(normalisers(part, weights));
      tokens += static_cast<double>(part.plan.tokens());
      supervised += static_cast<double>(part.supervised);
      flops += cost.of(part);
    }
  }
};

// Losses and gradients of the parts, each normalised by the whole global batch. `routing`, where given, sums what the
// routers did.
LossReport forward_backward(Session& session, const StageConfig& stage, dist::Optimizer& optimizer, const Parts& parts,
                            const StepWeights& weights, const Normalisers& whole, const Compute& compute, RoutingSums* routing) {
  LossReport report;
  const auto count = static_cast<int64_t>(parts.batches.size());
  for (int64_t i = 0; i < count; ++i) {
    if (i + 1 == count) optimizer.arm();  // gradients are complete, and sent, as this part's come in
    const data::Batch& part = parts.batches[static_cast<size_t>(i)];
    if (part.samples == 0) {
      if (session.experts.parallel && weights.language()) pass_without_rows(session);
      continue;
    }
    // The masks of a part follow from its number, so a resumed run draws the same, on any number of processes.
    if (stage.lora && stage.lora->dropout > 0) {
      const int64_t number = session.state.stage_step * stage.accumulate + session.world->rank() * count + i;
      torch::manual_seed(RandomStream(session.recipe.seed(), str("dropout/", stage.name, "/", number)).next());
      nn::set_dropout(session.adapters, stage.lora->dropout);
    }
    const auto batch = data::to_device(part, session.device);
    const auto result = batch_loss(*session.bundle.model, batch, weights, whole, &session.words, compute);
    if (result.loss.requires_grad()) result.loss.backward();
    report.add(result.report);
    if (routing) add_routings(*routing, result.routings, batch.labels);
  }
  nn::set_dropout(session.adapters, 0);  // validation sees all
  return report;
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
  auto& world = *session.world;
  share_weights(session);
  if (stage.lora) attach_adapters(session, stage);
  dist::OptimizerPlan plan{.sharded = session.recipe.shard_optimizer};
  if (model.sparse()) plan.experts = session.experts;
  dist::Optimizer optimizer(select_trainable(session, stage), stage.optimizer, session.world, plan);
  const StepFlops cost = step_flops(model);
  int64_t trained = 0;
  for (const auto& parameter : optimizer.parameters()) trained += parameter.tensor.numel();
  if (!optimizer_state.empty()) optimizer.load_state(optimizer_state);
  const int64_t own_parts = stage.accumulate / world.size();
  auto loader = make_loader(session, session.train_samples, &stage, {world.rank(), world.size(), own_parts});
  if (!state.loader.is_null()) loader.set_state(state.loader);
  log::info("stage ", stage.name, " (", stage.kind, "): ", stage.steps, " steps, ", human_count(static_cast<double>(trained)),
            " trainable parameters, ", loader.samples(), " samples");

  Compute compute = session.compute();
  compute.route_by_labels = stage.route_by == "labels";
  if (compute.route_by_labels && !model.sparse()) {
    throw UsageError(str("stage ", stage.name, ": route_by = labels on a dense model, which routes nothing; set upcycle to sparse"));
  }
  auto checkpoint = [&](bool wait) {
    state.loader = loader.state();
    state.seconds = session.seconds();
    if (session.dry) return;
    auto contents = whole_model(session, stage.lora.value_or(nn::LoraConfig()));
    contents.optimizer = optimizer.state();
    contents.state = state;
    session.writer->save(session.bundle, std::move(contents));
    if (wait) session.writer->wait();
  };
  const int64_t checkpoint_every = session.recipe.checkpoint_every;
  const bool every_step_checked = session.device.is_cpu();  // elsewhere it would make the device wait
  Progress progress(stage.name, stage.steps, "steps", state.stage_step);
  StallWatch stall("stage " + stage.name, session.recipe.stall_warning);
  double tokens = 0, supervised = 0, flops = 0;  // of this process since the last line
  auto since = std::chrono::steady_clock::now();
  while (state.stage_step < stage.steps) {
    const StepWeights weights = step_weights(stage.loss, state.stage_step, stage.steps);
    const bool log_now = (state.step + 1) % session.recipe.log_every == 0 || state.stage_step + 1 == stage.steps;
    const Parts parts(loader, own_parts, weights, cost);
    tokens += parts.tokens;
    supervised += parts.supervised;
    flops += parts.flops;
    const StepStart start = start_step(world, parts.own, stop_signal());
    RoutingSums routing;
    if (log_now && model.sparse()) routing = start_routing_sums(model);
    LossReport report = forward_backward(session, stage, optimizer, parts, weights, start.whole, compute, routing.empty() ? nullptr : &routing);
    const auto norm = optimizer.finish(stage.clip);
    bool checked = false;
    // Sums the processes' reports, so that all find the same.
    auto require_finite = [&] {
      checked = true;
      sum_reports(world, report, session.device);
      const double loss = report.total.defined() ? report.total.item<double>() : 0;
      if (std::isfinite(loss) && std::isfinite(norm.item<double>())) return;
      optimizer.zero_grad();
      if (every_step_checked) checkpoint(/*wait=*/true);  // the weights are still those of the last good step
      throw DivergenceError(str("stage ", stage.name, ", step ", state.step + 1, ": loss ", loss, ", gradient norm ", norm.item<double>(),
                                " (not finite); ",
                                every_step_checked ? "a checkpoint of the step before was written" : "the last checkpoint holds good weights",
                                "; try a lower learning rate or a longer warm-up"));
    };
    const bool save_now = (checkpoint_every > 0 && (state.step + 1) % checkpoint_every == 0) || start.signal != 0;
    if (every_step_checked || log_now || save_now) require_finite();
    const double lr = stage.lr * optim::schedule_value(stage.schedule, state.stage_step, stage.steps);
    optimizer.step(lr);
    optimizer.zero_grad();
    ++state.step;
    ++state.stage_step;
    stall.progress();
    if (log_now) {
      const auto now = std::chrono::steady_clock::now();
      const double seconds = std::chrono::duration<double>(now - since).count();
      Json line = {{"step", state.step}, {"stage", stage.name}, {"epoch", loader.epoch()}};
      describe(line, report, weights);
      sum_routings(world, routing);
      if (!routing.empty()) describe_routing(line, routing_to_json(model, routing));
      line["lr"] = lr;
      line["gradient_norm"] = norm.item<double>();
      const double processes = static_cast<double>(world.size());
      line["tokens_per_second"] = processes * tokens / seconds;
      line["supervised_per_second"] = processes * supervised / seconds;
      line["share_of_peak"] = flops / seconds / session.peak_flops;
      line["seconds"] = session.seconds();
      line["peak_memory_mib"] = peak_memory_mib(session.device);
      line["peak_tensor_mib"] = peak_tensor_mib(session.device);
      session.write(line, "train");
      progress.set(state.stage_step, progress_note(line));
      tokens = supervised = flops = 0;
      since = now;
    }
    const bool last = state.stage_step == stage.steps;
    const int64_t validate_every = session.recipe.validate_every;
    if (last || (validate_every > 0 && state.step % validate_every == 0)) {
      Json line = validate(session, weights, compute);
      line["stage"] = stage.name;
      line["validation"] = true;
      session.write(line, "validation");
      log::info("validation at step ", state.step, ": ", progress_note(line));
      keep_best(session, stage, line);
      answer_samples(session, stage.name);
      since = std::chrono::steady_clock::now();
      tokens = supervised = flops = 0;
    }
    if (const int signal = world.size() == 1 ? stop_signal() : start.signal; signal != 0) {
      if (!checked) require_finite();  // it came during this step
      checkpoint(/*wait=*/true);
      throw Interrupted(signal);
    }
    if (!last && checkpoint_every > 0 && state.step % checkpoint_every == 0) checkpoint(/*wait=*/false);
  }
  if (stage.lora) finish_adapters(session, stage);
  if (loader.skipped() > 0) log::warn("stage ", stage.name, ": ", loader.skipped(), " bad samples were skipped");
}

}  // namespace mose::train
