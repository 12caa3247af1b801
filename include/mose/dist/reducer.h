// Sums gradients over processes, bucket by bucket, while the backward pass still runs.
//
//   GradientReducer reducer(parameters, *world);
//   for (part : parts of the global batch) {
//     if (part is the last) reducer.arm();
//     loss(part).backward();              // armed: a bucket leaves as soon as its gradients are there
//   }
//   reducer.finish();                     // gradients are sums over processes, parts and samples
//
// Sums, not means: a loss is divided by the normalisers of the whole global batch.
#pragma once

#include <memory>
#include <vector>

#include "mose/dist/communicator.h"
#include "mose/optim/adamw.h"

namespace mose::dist {

struct ReducerConfig {
  double bucket_mb = 16;  // MiB of gradients that travel together

  void visit(FieldVisitor& v) {
    v.field("bucket_mb", bucket_mb, "MiB of gradients that are reduced together, while the backward pass goes on", 0.001, 65536);
  }
};

// Buckets are filled in the reverse order of `parameters`, about the order in which a backward pass gives gradients, and
// leave in that order on every process, whatever order the gradients come in. A parameter that gets no gradient here
// counts as zero, and has a gradient afterwards when it got one on any process; otherwise its gradient stays
// undefined. Gradients live in the buckets: grad() is a view of one.
class GradientReducer {
 public:
  // Error on a parameter that needs no gradient. `parameters` are the same, in the same order, on every process.
  GradientReducer(const std::vector<optim::NamedParameter>& parameters, std::shared_ptr<Communicator> group,
                  const ReducerConfig& config = {});
  ~GradientReducer();  // takes its hooks off

  void arm();
  // Waits for all buckets; those that no backward pass completed leave now. Without arm() before, all of them.
  void finish();

  int64_t buckets() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::dist
