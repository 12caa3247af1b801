#include "mose/nn/recompute.h"

#include <ATen/Context.h>

#include "mose/nn/autocast.h"
#include "mose/nn/lora.h"

namespace mose::nn {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;

using Generators = std::vector<at::Generator>;

Generators generators(torch::Device device) {
  Generators out{at::globalContext().defaultGenerator(torch::kCPU)};
  if (!device.is_cpu()) out.push_back(at::globalContext().defaultGenerator(device));
  return out;
}

Tensors random_state(torch::Device device) {
  Tensors states;
  for (auto& generator : generators(device)) {
    const std::lock_guard lock(generator.mutex());
    states.push_back(generator.get_state());
  }
  return states;
}

void set_random_state(torch::Device device, const Tensors& states) {
  auto all = generators(device);
  for (size_t i = 0; i < all.size(); ++i) {
    const std::lock_guard lock(all[i].mutex());
    all[i].set_state(states[i]);
  }
}

struct Job : torch::CustomClassHolder {
  std::function<Tensors(const Tensor&)> work;
  AutocastState autocast;
  Tensors random;
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  // `anchor` needs a gradient, so that the block has a place in the graph even where x needs none.
  static Tensors forward(AutogradContext* ctx, const Tensor& x, const Tensor& anchor, const c10::intrusive_ptr<Job>& job) {
    ctx->save_for_backward({x});
    ctx->saved_data["job"] = c10::IValue::make_capsule(job);
    ctx->set_materialize_grads(false);
    Tensors outputs = job->work(x);
    Tensors whole_numbers;
    for (const Tensor& output : outputs) {
      if (!output.is_floating_point()) whole_numbers.push_back(output);
    }
    ctx->mark_non_differentiable(whole_numbers);
    return outputs;
  }

  static Tensors backward(AutogradContext* ctx, Tensors grads) {
    const auto job = c10::static_intrusive_pointer_cast<Job>(ctx->saved_data["job"].toCapsule());
    const Tensor x = ctx->get_saved_variables()[0].detach().set_requires_grad(ctx->needs_input_grad(0));
    Tensor x_grad;  // as it comes; x.grad() would be laid out like x, and sums over it below would round in another order
    if (x.requires_grad()) x.register_hook([&x_grad](const Tensor& grad) { x_grad = grad; });
    const Tensors random = random_state(x.device());
    set_random_state(x.device(), job->random);
    Tensors outputs;
    {
      const torch::AutoGradMode record(true);
      const AutocastGuard autocast(x.device().type(), job->autocast);
      outputs = job->work(x);
    }
    set_random_state(x.device(), random);
    Tensors roots, root_grads;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!grads[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      root_grads.push_back(grads[i]);
    }
    outputs.clear();
    if (!roots.empty()) torch::autograd::backward(roots, root_grads);
    return {x_grad, Tensor(), Tensor()};
  }
};

}  // namespace

Tensors recompute(torch::nn::Module& block, std::function<Tensors(const Tensor& x)> work, const Tensor& x) {
  if (!torch::GradMode::is_enabled() || !(x.requires_grad() || learns(block))) return work(x);
  auto job = c10::make_intrusive<Job>();
  job->work = std::move(work);
  job->autocast = autocast_state(x.device().type());
  // A cast made while nothing is recorded would have no gradient, and must not be kept for those that are.
  job->autocast.cache = false;
  job->random = random_state(x.device());
  const AutocastGuard autocast(x.device().type(), job->autocast);
  return Recompute::apply(x, torch::empty({0}, torch::requires_grad()), job);
}

}  // namespace mose::nn
