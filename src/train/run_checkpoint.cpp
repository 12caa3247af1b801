#include "mose/train/run_checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/io/safetensors.h"
#include "mose/models/adapter.h"

namespace mose::train {

namespace fs = std::filesystem;

Json RunState::to_json() const {
  return {{"stage", stage}, {"stage_step", stage_step}, {"step", step}, {"seconds", seconds}, {"loader", loader}};
}

RunState RunState::from_json(const Json& json, const std::string& where) {
  RunState state;
  state.stage = json_int(json, "stage", where);
  state.stage_step = json_int(json, "stage_step", where);
  state.step = json_int(json, "step", where);
  state.seconds = json_number(json, "seconds", where);
  state.loader = json_at(json, "loader", where);
  return state;
}

namespace {

// Whole checkpoints, oldest first.
std::vector<fs::path> whole_checkpoints(const fs::path& run) {
  std::vector<fs::path> found;
  if (!fs::is_directory(run / "checkpoints")) return found;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    if (entry.path().extension().empty() && fs::exists(entry.path() / "DONE")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void save_checkpoint(const fs::path& run, const models::Bundle& bundle,
                     const std::map<std::string, torch::Tensor>& optimizer, const RunState& state, int64_t keep,
                     const nn::Adapters& adapters, const nn::LoraConfig& lora) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08lld", static_cast<long long>(state.step));
  const fs::path dir = run / "checkpoints" / name;
  fs::path beside = dir;
  beside += ".tmp";
  write_folder(beside, [&] {
    models::save_bundle(beside / "model", bundle);
    io::save_safetensors(beside / "optimizer.safetensors", optimizer);
    if (!adapters.empty()) models::save_adapter(beside / "adapter", *bundle.model, adapters, lora, dir / "model");
    save_json(beside / "state.json", state.to_json());
    write_file(beside / "DONE", "");
  });
  fs::remove_all(dir);  // the same step again: the end of a stage right after a periodic one
  fs::rename(beside, dir);
  const auto all = whole_checkpoints(run);
  for (size_t i = 0; i + static_cast<size_t>(keep) < all.size(); ++i) fs::remove_all(all[i]);
}

std::optional<Checkpoint> find_checkpoint(const fs::path& run) {
  if (fs::is_directory(run / "checkpoints")) {
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      if (!fs::exists(entry.path() / "DONE") || !entry.path().extension().empty()) {
        log::info("removing ", entry.path().string(), ": a checkpoint that was not finished");
        fs::remove_all(entry.path());
      }
    }
  }
  auto all = whole_checkpoints(run);
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    try {
      const std::string where = (*it / "state.json").string();
      Checkpoint checkpoint{*it, RunState::from_json(load_json(where), where)};
      // A header that does not fit its file is found here, before the run is rebuilt on it.
      io::StateDict::open(*it / "optimizer.safetensors");
      io::StateDict::open(*it / "model");
      if (fs::exists(*it / "adapter")) io::StateDict::open(*it / "adapter" / "adapter_model.safetensors");
      return checkpoint;
    } catch (const Error& e) {
      log::warn(it->string(), " is damaged (", e.what(), "); falling back to the checkpoint before it");
    }
  }
  return std::nullopt;
}

}  // namespace mose::train
