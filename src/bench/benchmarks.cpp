#include "mose/bench/benchmarks.h"

#include <algorithm>

#include "bench/session.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

struct Entry {
  Benchmark about;
  void (*run)(Session&);
};

// In this order: what measures its memory comes before what leaves much of it behind.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> kEntries = {
      {{"head", "head + cross-entropy against transformers' loss: time and memory"}, bench_head},
      {{"train", "a training step at CPU shape r against transformers: tokens a second, peak memory"}, bench_train},
      {{"packed", "a training step on samples of many lengths against the same samples padded"}, bench_packed},
      {{"decode", "greedy decoding at shape r, one sequence, against transformers' generate and llama.cpp; weights in 8 bits"}, bench_decode},
      {{"startup", "a model's first token from its files, against transformers' from_pretrained"}, bench_startup},
      {{"evaluate", "every question about drawn scenes answered, against transformers' generate on padded batches"}, bench_evaluate},
      {{"router", "router pretraining from cached activations against our own plain form"}, bench_router},
      {{"moe", "one MoE layer against transformers' and against a dense FFN of equal FLOPs; routing and permutation"}, bench_moe},
      {{"growth", "how time grows with tokens, experts, sequence length and batch"}, bench_growth},
      {{"tokenizer", "encoding on one thread against Hugging Face tokenizers"}, bench_tokenizer},
      {{"image", "JPEG to model input on one core against Pillow and torchvision with transformers' processors"}, bench_image},
      {{"machine", "copy and read bandwidth and matrix products, here and in PyTorch"}, bench_machine},
      {{"claims", "what sparsity costs and saves against dense decoders of the same activated and total size; what one turn saves", false}, bench_claims},
      {{"gpu-machine", "a GPU's matrix products, copies and reads, here and in PyTorch", false, true}, bench_gpu_machine},
      {{"gpu-moe", "one MoE layer of GPU shape R: training, routing and permutation, few tokens, against transformers' and a dense FFN", false, true},
       bench_gpu_moe},
      {{"gpu-head", "head + cross-entropy on a GPU against transformers' loss: time and memory", false, true}, bench_gpu_head},
      {{"gpu-decode", "greedy decoding of GPU shape R, one sequence, against transformers' generate", false, true}, bench_gpu_decode},
      {{"gpu-train", "a training step of GPU shape R against transformers and the device's peak; packed against padded", false, true}, bench_gpu_train},
      {{"gpu-evaluate", "several questions a picture, answered in a batch, against transformers' padded generate", false, true}, bench_gpu_evaluate},
      {{"gpu-compiled", "gpu-decode against generate with a static cache, compiled", false, true}, bench_gpu_compiled},
      {{"trainer", "whole runs of mose-train: the cost of checkpoints and log lines, two processes against one; 23 minutes", false}, bench_trainer},
  };
  return kEntries;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const std::vector<Benchmark>& benchmarks() {
  static const std::vector<Benchmark> kBenchmarks = [] {
    std::vector<Benchmark> list;
    for (const Entry& entry : entries()) list.push_back(entry.about);
    return list;
  }();
  return kBenchmarks;
}

Report run_benchmarks(const std::vector<std::string>& names, const Options& options) {
  std::vector<std::string> known = {"all", "gpu"};
  for (const Benchmark& b : benchmarks()) known.push_back(b.name);
  for (const std::string& name : names) {
    if (contains(known, name)) continue;
    const std::string near = nearest_name(name, known);
    throw UsageError(str("benchmark \"", name, "\" is not known", near.empty() ? "" : "; did you mean \"" + near + "\"?",
                         " Known: ", join(known, ", ")));
  }
  Session session(options);
  for (const Entry& entry : entries()) {
    const bool asked = contains(names, entry.about.name) || (entry.about.in_all && contains(names, "all")) || (entry.about.gpu && contains(names, "gpu"));
    if (!asked) continue;
    log::info(entry.about.name, ": ", entry.about.description);
    session.attempt(entry.about.name, "", [&] { entry.run(session); });
  }
  return std::move(session.report);
}

}  // namespace mose::bench
