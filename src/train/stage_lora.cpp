// Stages that train adapters beside a frozen model.
#include <utility>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/models/adapter.h"
#include "train/whole_model.h"

namespace mose::train {

void attach_adapters(Session& session, const StageConfig& stage) {
  const uint64_t seed = RandomStream(session.recipe.seed(), "lora/" + stage.name).next();
  session.adapters = nn::attach_lora(*session.bundle.model, *stage.lora, seed);
  const auto saved = std::exchange(session.saved_adapters, {});
  int64_t count = 0;
  const torch::NoGradGuard no_grad;
  for (const auto& [name, lora] : session.adapters) {
    count += lora->A.numel() + lora->B.numel();
    if (saved.empty()) continue;
    const auto found = saved.find(name);
    if (saved.size() != session.adapters.size() || found == saved.end() || found->second->A.sizes() != lora->A.sizes()) {
      throw UsageError(str("stage ", stage.name, ": the checkpoint's ", saved.size(), " adapters are not the ", session.adapters.size(),
                           " of this recipe (first difference: ", name, "); keep lora.rank and lora.targets to resume"));
    }
    lora->A.copy_(found->second->A);
    lora->B.copy_(found->second->B);
  }
  log::info("stage ", stage.name, ": adapters of rank ", stage.lora->rank, " on ", session.adapters.size(), " layers, ",
            human_count(static_cast<double>(count)), " parameters");
}

void finish_adapters(Session& session, const StageConfig& stage) {
  const auto dir = folder_path(session.run / "adapters" / stage.name);
  // A model directory that is there already serves as the base; else what the adapters stand beside is written.
  const bool base_exists = !session.recipe.init_from.empty() && session.state.stage == 0 && stage.upcycle == "none" &&
                           trainable_patterns(stage).empty();
  const auto base = base_exists ? folder_path(session.recipe.init_from) : dir / "base";
  const auto contents = whole_model(session, *stage.lora);
  if (session.keeps()) {
    models::save_adapter(dir, *session.bundle.model, contents.adapters, *stage.lora, base);
    if (!base_exists) models::save_bundle(base, session.bundle, contents.weights, contents.weights.begin()->second.scalar_type());
  }
  if (session.writer) session.writer->wait();  // it may still read the adapters' places
  nn::merge_lora(*session.bundle.model);
  session.adapters.clear();
  log::info("stage ", stage.name, ": adapters merged; they are in ", dir.string(), ", their base in ", base.string());
}

}  // namespace mose::train
