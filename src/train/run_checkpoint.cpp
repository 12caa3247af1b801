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
  return {{"stage", stage}, {"stage_step", stage_step}, {"step", step}, {"seconds", seconds}, {"loader", loader}, {"best", best}};
}

RunState RunState::from_json(const Json& json, const std::string& where) {
  RunState state;
  state.stage = json_int(json, "stage", where);
  state.stage_step = json_int(json, "stage_step", where);
  state.step = json_int(json, "step", where);
  state.seconds = json_number(json, "seconds", where);
  state.loader = json_at(json, "loader", where);
  if (json.contains("best")) state.best = json["best"];
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

std::vector<fs::path> optimizer_files(const fs::path& dir) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().filename().string().starts_with("optimizer.")) found.push_back(entry.path());
  }
  return found;
}

Json sizes_of_files(const fs::path& dir) {
  Json sizes = Json::object();
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) sizes[fs::relative(entry.path(), dir).string()] = entry.file_size();
  }
  return sizes;
}

void check_files(const fs::path& dir) {
  const Json sizes = load_json(dir / "DONE");
  for (const auto& [name, size] : sizes.items()) {
    std::error_code code;
    const auto found = fs::file_size(dir / name, code);
    if (code) throw DataError(str((dir / name).string(), ": ", code.message()));
    if (found != size) throw DataError(str((dir / name).string(), ": expected ", size.dump(), " bytes, found ", found));
  }
}

void save_model_of(const fs::path& dir, const fs::path& place, const models::Bundle& bundle, const CheckpointContents& contents) {
  models::save_bundle(dir / "model", bundle, contents.weights, contents.weights.begin()->second.scalar_type());
  if (!contents.adapters.empty()) models::save_adapter(dir / "adapter", *bundle.model, contents.adapters, contents.lora, place / "model");
}

}  // namespace

void save_checkpoint(const fs::path& run, dist::Communicator& world, const models::Bundle& bundle,
                     const CheckpointContents& contents, const Keep& keep) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08lld", static_cast<long long>(contents.state.step));
  const fs::path dir = run / "checkpoints" / name;
  fs::path beside = dir;
  beside += ".tmp";
  if (world.rank() != 0) {
    world.barrier();  // the folder is there
    if (!contents.optimizer.empty()) {
      io::save_safetensors(beside / str("optimizer.rank", world.rank(), ".safetensors"), contents.optimizer);
    }
    world.barrier();  // all shares are written
    world.barrier();  // it is in its place
    return;
  }
  write_folder(beside, [&] {
    world.barrier();
    save_model_of(beside, dir, bundle, contents);
    io::save_safetensors(beside / "optimizer.safetensors", contents.optimizer);
    save_json(beside / "state.json", contents.state.to_json());
    world.barrier();
    save_json(beside / "DONE", sizes_of_files(beside));
  });
  fs::remove_all(dir);  // the same step again: the end of a stage right after a periodic one
  fs::rename(beside, dir);
  const auto all = whole_checkpoints(run);
  for (size_t i = 0; i + static_cast<size_t>(keep.newest) < all.size(); ++i) {
    const int64_t step = std::atoll(all[i].filename().string().c_str() + std::string("step_").size());
    if (keep.milestones == 0 || step % keep.milestones != 0) fs::remove_all(all[i]);
  }
  world.barrier();
}

void save_best(const fs::path& run, const models::Bundle& bundle, const CheckpointContents& contents) {
  const fs::path dir = folder_path(run / "best");
  replace_folder(dir, [&](const fs::path& beside) { save_model_of(beside, dir, bundle, contents); });
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
      // What does not fit is found here, before the run is rebuilt on it.
      check_files(*it);
      for (const auto& file : optimizer_files(*it)) io::StateDict::open(file);
      io::StateDict::open(*it / "model");
      if (fs::exists(*it / "adapter")) io::StateDict::open(*it / "adapter" / "adapter_model.safetensors");
      return checkpoint;
    } catch (const Error& e) {
      log::warn(it->string(), " is damaged (", e.what(), "); falling back to the checkpoint before it");
    }
  }
  return std::nullopt;
}

std::map<std::string, torch::Tensor> load_optimizer(const Checkpoint& checkpoint) {
  std::map<std::string, torch::Tensor> state;
  for (const auto& path : optimizer_files(checkpoint.dir)) {
    const auto file = io::StateDict::open(path);
    for (const auto& name : file.names()) state[name] = file.get(name).clone();
  }
  return state;
}

}  // namespace mose::train
