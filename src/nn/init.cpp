#include "mose/nn/init.h"

#include <torch/torch.h>

namespace mose::nn {
namespace {

thread_local Init g_way = Init::kDraw;

torch::Tensor blank(at::IntArrayRef shape) {
  const auto device = g_way == Init::kMeta ? torch::kMeta : torch::kCPU;
  return torch::empty(shape, torch::dtype(torch::kFloat32).device(device));
}

}  // namespace

InitGuard::InitGuard(Init way) : before_(g_way) { g_way = way; }
InitGuard::~InitGuard() { g_way = before_; }

torch::Tensor normal(at::IntArrayRef shape, double deviation) {
  if (g_way != Init::kDraw) return blank(shape);
  return torch::randn(shape) * deviation;
}

torch::Tensor uniform(at::IntArrayRef shape, double bound) {
  if (g_way != Init::kDraw) return blank(shape);
  return blank(shape).uniform_(-bound, bound);
}

torch::Tensor constant(at::IntArrayRef shape, double value) {
  if (g_way != Init::kDraw) return blank(shape);
  return torch::full(shape, value, torch::kFloat32);
}

torch::Tensor given(const torch::Tensor& value) {
  return g_way == Init::kMeta ? blank(value.sizes()) : value;
}

}  // namespace mose::nn
