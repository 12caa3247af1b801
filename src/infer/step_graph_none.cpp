// In place of step_graph_cuda.cpp in builds without CUDA.
#include "infer/step_graph.h"

namespace mose::infer {

Recorder graph_recorder(torch::Device) { return nullptr; }

}  // namespace mose::infer
