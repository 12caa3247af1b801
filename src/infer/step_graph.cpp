#include "infer/step_graph.h"

#include <torch/torch.h>

#include <algorithm>

#include "mose/core/log.h"

namespace mose::infer {
namespace {

using torch::Tensor;

constexpr int64_t kMostRows = 32;
constexpr int64_t kLookStep = 512;  // a graph looks at a multiple of so many positions

}  // namespace

StepGraphs::StepGraphs(models::VisionLanguageModel& model, nn::KvCache& cache, int64_t spare, const SamplingConfig& sampling, Recorder record)
    : model_(model), cache_(cache), spare_(spare), sampling_(sampling), record_(std::move(record)),
      most_rows_(record_ ? kMostRows : 0) {}

StepGraphs::Inputs& StepGraphs::inputs_of(int64_t rows) {
  Inputs& inputs = inputs_[rows];
  if (inputs.device_2N.defined()) return inputs;
  const auto device = model_.device();
  const auto host = torch::TensorOptions().pinned_memory(device.is_cuda());
  inputs.host_2N = torch::zeros({2, rows}, host.dtype(torch::kInt64));
  inputs.host_uniform_N = torch::zeros({rows}, host.dtype(torch::kFloat64));
  inputs.device_2N = inputs.host_2N.to(device, torch::kInt64, /*non_blocking=*/false, /*copy=*/true);
  inputs.uniform_N = inputs.host_uniform_N.to(device, torch::kFloat64, /*non_blocking=*/false, /*copy=*/true);
  inputs.plan = nn::make_plan(std::vector<int64_t>(static_cast<size_t>(rows), 1));
  inputs.plan.positions_T = inputs.device_2N[1];
  return inputs;
}

// What is recorded. The host's side of the cache is as it was before.
void StepGraphs::run_step(const Inputs& inputs, Graph& graph) {
  language::ForwardOptions options;
  options.cache = &cache_;
  const auto hidden = model_.forward(inputs.device_2N[0], inputs.plan, {}, options).hidden_TD;
  graph.logits_NV = text_logits(model_, hidden);
  graph.chosen_N = choose_on_device(graph.logits_NV, sampling_, inputs.uniform_N);
  for (size_t n = 0; n < places_.size(); ++n) cache_.begin(places_[n], places_[n], starts_[n]);
}

StepGraphs::Graph* StepGraphs::graph_of(int64_t rows, int64_t longest) {
  const int64_t looked = (longest + kLookStep - 1) / kLookStep * kLookStep;
  const auto found = graphs_.find({rows, looked});
  if (found != graphs_.end()) return &found->second;
  Graph& graph = graphs_[{rows, looked}];
  cache_.look_at_least(looked);
  try {
    const Inputs& inputs = inputs_of(rows);
    graph.replay = record_([this, &inputs, &graph] { run_step(inputs, graph); });
  } catch (const std::exception& error) {
    log::warn("decoding ", rows, rows == 1 ? " sequence" : " sequences", " without a CUDA graph: ", error.what());
    most_rows_ = rows / 2;
    for (size_t n = 0; n < places_.size(); ++n) cache_.begin(places_[n], places_[n], starts_[n]);
    graphs_.erase({rows, looked});
  }
  cache_.look_at_least(0);
  return rows <= most_rows_ ? &graph : nullptr;
}

std::optional<std::vector<int64_t>> StepGraphs::step(const std::vector<int64_t>& places, const std::vector<int64_t>& tokens,
                                                     const std::vector<RandomStream*>& streams) {
  const auto own = static_cast<int64_t>(places.size());
  int64_t rows = 1;
  while (rows < own) rows *= 2;
  if (own == 0 || rows > most_rows_) return std::nullopt;
  places_ = places;
  places_.resize(static_cast<size_t>(rows), spare_);
  starts_.assign(static_cast<size_t>(rows), 0);
  int64_t longest = 1;
  for (size_t n = 0; n < places.size(); ++n) {
    starts_[n] = cache_.lengths()[static_cast<size_t>(places[n])];
    longest = std::max(longest, starts_[n] + 1);
  }
  if (longest > cache_.capacity()) return std::nullopt;  // the plain way says so
  Inputs& inputs = inputs_of(rows);
  auto* host = inputs.host_2N.mutable_data_ptr<int64_t>();
  std::fill(host, host + rows, 0);
  std::copy(tokens.begin(), tokens.end(), host);
  std::copy(starts_.begin(), starts_.end(), host + rows);
  inputs.device_2N.copy_(inputs.host_2N, /*non_blocking=*/true);
  cache_.run(places_);
  const torch::NoGradGuard no_grad;
  Graph* graph = graph_of(rows, longest);
  if (!graph) return std::nullopt;
  if (sampling_.temperature > 0) {
    inputs.host_uniform_N.narrow(0, 0, own).copy_(draw_uniform(sampling_, streams));
    inputs.uniform_N.copy_(inputs.host_uniform_N, /*non_blocking=*/true);
  }
  graph->replay();
  logits_ = &graph->logits_NV;
  cache_.advance(inputs.plan);
  cache_.begin(spare_, spare_, 0);
  return chosen_tokens(graph->chosen_N.narrow(0, 0, own));
}

}  // namespace mose::infer
