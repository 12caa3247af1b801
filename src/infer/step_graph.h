// Decoding steps recorded once and replayed: on a GPU a CUDA graph for each number of rows (1, 2, 4, 8, 16 or 32), which starts all of a step's
// kernels at once, where starting them one by one takes longer than they do.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "infer/sampling.h"
#include "mose/models/vlm.h"

namespace mose::infer {

// Runs the work a few times and gives back what runs it again with what its tensors then hold. Throws where that is impossible.
using Recorder = std::function<std::function<void()>(const std::function<void()>& work)>;

// Records CUDA graphs; null in builds without CUDA and on other devices.
Recorder graph_recorder(torch::Device device);

class StepGraphs {
 public:
  // `spare` is a place of the cache that is nobody's: rows that fill up a number run there. All must outlive this.
  StepGraphs(models::VisionLanguageModel& model, nn::KvCache& cache, int64_t spare, const SamplingConfig& sampling, Recorder record);

  // One row of each place after its token: stores it and gives the tokens that follow, drawn from the streams. Nothing, and nothing is
  // done, where no graph serves: more rows than 32, or than where recording has failed, which is logged.
  std::optional<std::vector<int64_t>> step(const std::vector<int64_t>& places, const std::vector<int64_t>& tokens, const std::vector<RandomStream*>& streams);
  // After the cache's memory has moved.
  void forget() { graphs_.clear(); }

  const torch::Tensor& logits() const { return *logits_; }  // of the last step, its own rows first
  size_t recorded() const { return graphs_.size(); }

 private:
  struct Inputs {
    torch::Tensor host_2N, device_2N;        // int64: tokens, positions
    torch::Tensor host_uniform_N, uniform_N;  // float64
    nn::SequencePlan plan;
  };
  struct Graph {
    std::function<void()> replay;
    torch::Tensor logits_NV, chosen_N;  // where each replay leaves them
  };
  Inputs& inputs_of(int64_t rows);
  Graph* graph_of(int64_t rows, int64_t longest);
  void run_step(const Inputs& inputs, Graph& graph);

  models::VisionLanguageModel& model_;
  nn::KvCache& cache_;
  int64_t spare_;
  SamplingConfig sampling_;
  Recorder record_;
  int64_t most_rows_;  // that are recorded
  std::map<int64_t, Inputs> inputs_;                      // by rows
  std::map<std::pair<int64_t, int64_t>, Graph> graphs_;  // by rows and the positions that are looked at
  std::vector<int64_t> places_, starts_;  // of the step that runs
  const torch::Tensor* logits_ = nullptr;
};

}  // namespace mose::infer
