// Router pretraining over cached activations.
#include <torch/torch.h>

#include <cmath>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"
#include "mose/core/random.h"
#include "mose/core/signals.h"
#include "mose/optim/adamw.h"
#include "mose/optim/clip.h"
#include "mose/train/router_cache.h"
#include "train/whole_model.h"

namespace mose::train {
namespace {

// The labelled rows of the first batches of an epoch, each batch through the model of one process, in the batches' order.
RouterCache collect(Session& session, const StageConfig& stage) {
  auto& model = *session.bundle.model;
  const int64_t rank = session.world->rank(), world = session.world->size();
  const nn::AutocastGuard autocast(session.device.type(), session.compute().autocast);
  auto loader = make_loader(session, session.train_samples, &stage, {rank, world, 1});
  Progress progress(stage.name + ": caching activations", stage.cache_tokens, "rows");
  const int64_t batches = loader.batches_in_epoch(0);
  std::vector<RouterCache> parts;
  int64_t rows = 0;
  for (int64_t first = 0; first < batches && rows < stage.cache_tokens; first += world) {
    RouterCache own;
    const auto batch = first + rank < batches ? data::to_device(loader.next(), session.device) : data::Batch();
    if (batch.samples > 0) {
      own = router_inputs(model, batch);
    } else if (session.experts.parallel) {
      const torch::NoGradGuard no_grad;
      pass_without_rows(session);
    }
    const int signal = static_cast<int>(dist::agree(*session.world, stop_signal()));
    if (signal != 0) throw Interrupted(signal);
    for (auto& part : gather_caches(*session.world, own)) {
      rows += part.rows();
      parts.push_back(std::move(part));
    }
    progress.set(std::min(rows, stage.cache_tokens));
  }
  return join_caches(parts, stage.cache_tokens);
}

}  // namespace

void run_cached_router_stage(Session& session, const StageConfig& stage) {
  auto& model = *session.bundle.model;
  auto& state = session.state;
  if (!model.sparse()) throw UsageError(str("stage ", stage.name, ": a dense model has no routers; set upcycle to sparse"));
  const auto parameters = select_trainable(session, stage);
  for (const auto& [name, tensor] : parameters) {
    if (name.find(".mlp.gate.") == std::string::npos) {
      throw UsageError(str("stage ", stage.name, ": the cached form trains routers only, but trainable matches ", name,
                           "; use router_form plain"));
    }
  }
  const auto collect_start = std::chrono::steady_clock::now();
  const RouterCache cache = collect(session, stage);
  const double collect_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - collect_start).count();
  log::info("stage ", stage.name, ": ", cache.rows(), " labelled rows of ", cache.inputs_ND.size(), " layers cached in ",
            human_seconds(collect_seconds));

  optim::AdamW optimizer(parameters, stage.optimizer);
  // Each epoch is a new order of the rows, drawn from a named stream.
  RandomStream stream(session.recipe.seed(), "router_cache/" + stage.name);
  std::vector<int64_t> order(static_cast<size_t>(cache.rows()));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  const auto batch_rows = static_cast<size_t>(std::min<int64_t>(stage.cache_batch, cache.rows()));
  size_t at = order.size();
  Progress progress(stage.name, stage.steps, "steps", state.stage_step);
  while (state.stage_step < stage.steps) {
    if (const auto signal = dist::agree(*session.world, stop_signal()); signal != 0) {
      log::warn("stage ", stage.name, " is cached and short: a resumed run begins it anew");
      throw Interrupted(static_cast<int>(signal));
    }
    if (at + batch_rows > order.size()) {
      stream.shuffle(order);
      at = 0;
    }
    const std::vector<int64_t> chosen(order.begin() + static_cast<int64_t>(at),
                                      order.begin() + static_cast<int64_t>(at + batch_rows));
    at += batch_rows;
    const auto rows = torch::tensor(chosen, torch::kInt64).to(session.device);
    const StepWeights weights = step_weights(stage.loss, state.stage_step, stage.steps);
    const auto result = cached_router_loss(model, cache, rows, weights);
    result.loss.backward();
    optim::clip_gradients(optimizer.parameters(), stage.clip);
    optimizer.step(stage.lr * optim::schedule_value(stage.schedule, state.stage_step, stage.steps));
    optimizer.zero_grad();
    ++state.step;
    ++state.stage_step;
    if (state.step % session.recipe.log_every == 0 || state.stage_step == stage.steps) {
      const double loss = result.report.total.item<double>();
      if (!std::isfinite(loss)) {
        throw DivergenceError(str("stage ", stage.name, ", step ", state.step, ": router loss ", loss,
                                  " is not finite; the checkpoint of the stage before holds good weights"));
      }
      Json line = {{"step", state.step}, {"stage", stage.name}, {"loss", loss}};
      if (weights.skill != 0) line["loss_skill"] = result.report.skill.item<double>();
      if (weights.stage != 0) line["loss_stage"] = result.report.stage.item<double>();
      if (state.stage_step <= session.recipe.log_every) {
        line["cached_rows"] = cache.rows();
        line["cached_seconds"] = collect_seconds;
      }
      line["seconds"] = session.seconds();
      session.write(line, "train");
      progress.set(state.stage_step, str("loss ", fixed(loss, 4)));
    }
  }
}

}  // namespace mose::train
