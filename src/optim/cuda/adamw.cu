#include "optim/cuda/adamw.h"

#include <algorithm>

#include "nn/cuda/launch.cuh"

namespace mose::optim::cuda {
namespace {

using nn::cuda::kThreads;

constexpr int64_t kChunk = 8192;  // elements of a block
constexpr int kTasks = 40;        // tensors of a launch: what they need fits in a kernel's 4 KiB of parameters

struct Batch {
  Task tasks[kTasks];
  int first_block[kTasks + 1];                // of each task, and their number
  float beta1, beta2, rest1, rest2, epsilon;  // rest: 1 - beta
  double wide_beta1, wide_beta2;
};
static_assert(sizeof(Batch) <= 4096);

__device__ inline float read(const void* p, bool half, int64_t i) {
  return half ? nn::cuda::to_float(static_cast<const uint16_t*>(p)[i]) : static_cast<const float*>(p)[i];
}

__global__ void update_chunk(Batch b) {
  __shared__ float corrections[2];
  int t = 0;
  while (static_cast<int>(blockIdx.x) >= b.first_block[t + 1]) ++t;
  const Task& task = b.tasks[t];
  if (threadIdx.x == 0) {
    corrections[0] = static_cast<float>(1 / (1 - pow(b.wide_beta1, static_cast<double>(*task.step))));
    corrections[1] = static_cast<float>(1 / sqrt(1 - pow(b.wide_beta2, static_cast<double>(*task.step))));
  }
  __syncthreads();
  const float mean_factor = task.rate * corrections[0], root_factor = corrections[1], kept = 1 - task.rate * task.decay;
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) - b.first_block[t]) * kChunk;
  const int64_t end = begin + kChunk < task.elements ? begin + kChunk : task.elements;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float g = read(task.gradient, task.gradient_is_half, i);
    const float m = b.beta1 * task.exp_avg[i] + b.rest1 * g, v = b.beta2 * task.exp_avg_sq[i] + b.rest2 * g * g;
    const float w = task.weight[i] * kept - mean_factor * m / (sqrtf(v) * root_factor + b.epsilon);
    task.exp_avg[i] = m;
    task.exp_avg_sq[i] = v;
    task.weight[i] = w;
    if (!task.rounded) continue;
    if (task.rounded_is_half)
      static_cast<uint16_t*>(task.rounded)[i] = nn::cuda::from_float<uint16_t>(w);
    else
      static_cast<float*>(task.rounded)[i] = w;
  }
}

}  // namespace

void update(nn::cuda::Stream stream, const std::vector<Task>& tasks, const Settings& settings) {
  for (size_t first = 0; first < tasks.size(); first += kTasks) {
    Batch batch{};
    batch.beta1 = static_cast<float>(batch.wide_beta1 = settings.beta1);
    batch.beta2 = static_cast<float>(batch.wide_beta2 = settings.beta2);
    batch.rest1 = static_cast<float>(1 - settings.beta1);
    batch.rest2 = static_cast<float>(1 - settings.beta2);
    batch.epsilon = static_cast<float>(settings.epsilon);
    const size_t count = std::min<size_t>(kTasks, tasks.size() - first);
    int blocks = 0;
    for (size_t i = 0; i < count; ++i) {
      batch.tasks[i] = tasks[first + i];
      blocks += static_cast<int>((tasks[first + i].elements + kChunk - 1) / kChunk);
      batch.first_block[i + 1] = blocks;
    }
    nn::cuda::launch(update_chunk, blocks, kThreads, stream, batch);
  }
}

}  // namespace mose::optim::cuda
