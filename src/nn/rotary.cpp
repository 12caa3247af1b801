#include "mose/nn/rotary.h"

#include <torch/torch.h>

#include "mose/core/error.h"

namespace mose::nn {

void RopeScaling::visit(FieldVisitor& v) {
  v.field("type", type, "linear, or llama3 (by the length of a turn)", {"linear", "llama3"});
  v.field("factor", factor, "by which slow turns are slowed", 1, 1e6);
  v.field("low_freq_factor", low_freq_factor, "llama3: turns longer than original_positions / this are slowed", 1e-6, 1e6);
  v.field("high_freq_factor", high_freq_factor, "llama3: turns shorter than original_positions / this are kept", 1e-6, 1e6);
  v.field("original_positions", original_positions, "llama3: longest sequence before stretching", 1, 1e8);
}

torch::Tensor rotary_frequencies(int64_t width, double theta, const std::optional<RopeScaling>& scaling) {
  const auto exponents = torch::arange(0, width, 2, torch::kFloat32) / static_cast<double>(width);
  const auto f = 1 / torch::pow(theta, exponents);
  if (!scaling) return f;
  if (scaling->type == "linear") return f / scaling->factor;
  if (scaling->type != "llama3") throw UsageError("rope_scaling.type = \"" + scaling->type + "\": known types: linear, llama3");
  const double low = scaling->low_freq_factor, high = scaling->high_freq_factor;
  if (high <= low) throw UsageError("rope_scaling: expected high_freq_factor above low_freq_factor");
  // Turns within the original context; between low and high of them the share of f itself rises from 0 to 1.
  const auto turns = static_cast<double>(scaling->original_positions) / (2 * M_PI / f);
  const auto keep = ((turns - low) / (high - low)).clamp(0, 1);
  return (1 - keep) * f / scaling->factor + keep * f;
}

RotaryTable rotary_table(const torch::Tensor& positions_T, const torch::Tensor& frequencies_h) {
  const auto angles = positions_T.to(torch::kFloat32).unsqueeze(1) * frequencies_h.to(positions_T.device());
  return {angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)};
}

torch::Tensor apply_rotary(const torch::Tensor& x_THd, const RotaryTable& table) {
  const int64_t half = table.cos_T1h.size(-1), rest = x_THd.size(-1) - 2 * half;
  const auto cos = table.cos_T1h.to(x_THd.dtype()), sin = table.sin_T1h.to(x_THd.dtype());
  const auto first = x_THd.narrow(-1, 0, half), second = x_THd.narrow(-1, half, half);
  const auto a = first * cos - second * sin, b = second * cos + first * sin;
  return rest == 0 ? torch::cat({a, b}, -1) : torch::cat({a, b, x_THd.narrow(-1, 2 * half, rest)}, -1);
}

}  // namespace mose::nn
