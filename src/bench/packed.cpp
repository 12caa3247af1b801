// A training step on samples of many lengths: our packed form against the same samples padded to the longest.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/session.h"
#include "bench/training.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

// The last layer's FFN meets supervised rows alone, of which both forms have as many: with few layers it would hide what padding costs.
constexpr int64_t kSamples = 16, kStep = 10, kLongest = kSamples * kStep, kLayers = 4;

}  // namespace

void bench_packed(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  std::vector<int64_t> lengths;
  for (int64_t n = 1; n <= kSamples; ++n) lengths.push_back(n * kStep);
  const ShapeR shape = make_shape_r(torch::kFloat32, kLayers);
  const int64_t vocabulary = shape.model->config().language.vocab_size;
  OurTraining packed(shape, make_batch(lengths, vocabulary));
  OurTraining padded(make_shape_r(torch::kFloat32, kLayers), make_batch(lengths, vocabulary, kLongest));
  packed.step();
  padded.step();
  const double a = packed.losses[0], b = padded.losses[0];
  if (!(std::abs(a - b) <= 1e-5 * std::abs(b))) throw Error(str("the loss of the packed form is ", a, ", of the padded ", b));
  Comparison c;
  c.name = "training step, packed";
  c.shape = str(shape.about(), "; ", kSamples, " samples of ", kStep, " to ", kLongest, " tokens, a quarter supervised");
  c.repetitions = kSlowRepetitions;
  c.ours = [&] { return packed.step(); };
  c.sides = {{"ours, padded to the longest", [&] { return padded.step(); }}};
  c.finish = [&](Row& row) {
    row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"rows", kStep * kSamples * (kSamples + 1) / 2},
                {"padded_rows", kSamples * kLongest}};
  };
  session.compare(c);
}

}  // namespace mose::bench
