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
#include "train/session.h"

namespace mose::train {

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
  auto loader = make_loader(session, session.train_samples, &stage);
  RouterCache cache;
  {
    Progress progress(stage.name + ": caching activations", stage.cache_tokens, "rows");
    int64_t batches = loader.batches_in_epoch(0), used = 0;
    cache = collect_router_inputs(
        model,
        [&](data::Batch& batch) {
          throw_if_stopped();
          if (used++ == batches) return false;
          batch = data::to_device(loader.next(), session.device);
          return true;
        },
        stage.cache_tokens);
    progress.set(cache.rows());
  }
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
    if (stop_signal() != 0) {
      log::warn("stage ", stage.name, " is cached and short: a resumed run begins it anew");
      throw_if_stopped();
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
