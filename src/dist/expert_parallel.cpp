#include "mose/dist/expert_parallel.h"

#include <torch/torch.h>

#include <numeric>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/lora.h"

namespace mose::dist {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Which rows go where, for one pass through one layer.
struct Plan : torch::CustomClassHolder {
  std::shared_ptr<Communicator> group;
  std::vector<int64_t> sent, received;  // rows by process
  std::vector<int64_t> counts;          // rows by expert of this process
  Tensor order, inverse;                // received rows, by process and expert -> by expert and process

  Tensor to_experts(const Tensor& rows_RD) const {
    const Tensor arrived = travel(rows_RD, received, sent);
    return arrived.index_select(0, order);
  }
  Tensor from_experts(const Tensor& rows_RD) const { return travel(rows_RD.index_select(0, inverse), sent, received); }

 private:
  Tensor travel(const Tensor& rows_RD, const std::vector<int64_t>& to, const std::vector<int64_t>& from) const {
    const Tensor out = torch::empty({std::accumulate(to.begin(), to.end(), int64_t{0}), rows_RD.size(1)}, rows_RD.options());
    group->all_to_all(out, rows_RD.contiguous(), to, from).wait();
    return out;
  }
};

// Rows travel one way, their gradients the other.
template <bool kThere>
class Exchange : public torch::autograd::Function<Exchange<kThere>> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& rows_RD, const c10::intrusive_ptr<Plan>& plan) {
    ctx->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return kThere ? plan->to_experts(rows_RD) : plan->from_experts(rows_RD);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto capsule = ctx->saved_data["plan"].toCapsule();
    const auto& plan = static_cast<const Plan&>(*capsule);
    return {kThere ? plan.from_experts(grads[0]) : plan.to_experts(grads[0]), Tensor()};
  }
};

class AllToAll : public moe::ExpertExchange {
 public:
  explicit AllToAll(std::shared_ptr<Communicator> group) : group_(std::move(group)) {}

  Tensor forward(const Tensor& rows_RD, const std::vector<int64_t>& counts_E, moe::Experts& experts) override {
    const auto plan = make_plan(counts_E, rows_RD.device());
    const Tensor mine = Exchange<true>::apply(rows_RD, plan);
    Tensor out = experts.forward(mine, plan->counts);
    // Without rows here the result may depend on nothing, but the others' backward pass sends gradients all the same.
    if (torch::GradMode::is_enabled() && !out.requires_grad() && nn::learns(experts)) out = out.detach().requires_grad_();
    return Exchange<false>::apply(out, plan);
  }

 private:
  c10::intrusive_ptr<Plan> make_plan(const std::vector<int64_t>& counts_E, torch::Device device) const {
    const int64_t size = group_->size(), own = static_cast<int64_t>(counts_E.size()) / size;
    const Tensor sent = torch::tensor(counts_E, torch::kInt64), received = torch::empty_like(sent);
    const std::vector<int64_t> each(static_cast<size_t>(size), own);
    group_->all_to_all(received, sent, each, each).wait();

    auto plan = c10::make_intrusive<Plan>();
    plan->group = group_;
    const auto totals = [&](const Tensor& counts, int64_t dimension) {
      const Tensor sums = counts.view({size, own}).sum(dimension);
      return std::vector<int64_t>(sums.const_data_ptr<int64_t>(), sums.const_data_ptr<int64_t>() + sums.numel());
    };
    plan->sent = totals(sent, 1);
    plan->received = totals(received, 1);
    plan->counts = totals(received, 0);
    const Tensor ends = received.cumsum(0);
    const int64_t *count = received.const_data_ptr<int64_t>(), *end = ends.const_data_ptr<int64_t>();
    const int64_t rows = ends.numel() > 0 ? end[ends.numel() - 1] : 0;
    Tensor order = torch::empty({rows}, torch::kInt64), inverse = torch::empty({rows}, torch::kInt64);
    int64_t to = 0;
    for (int64_t e = 0; e < own; ++e) {
      for (int64_t r = 0; r < size; ++r) {
        const int64_t block = r * own + e;
        for (int64_t row = end[block] - count[block]; row < end[block]; ++row, ++to) {
          order.mutable_data_ptr<int64_t>()[to] = row;
          inverse.mutable_data_ptr<int64_t>()[row] = to;
        }
      }
    }
    plan->order = order.to(device);
    plan->inverse = inverse.to(device);
    return plan;
  }

  const std::shared_ptr<Communicator> group_;
};

}  // namespace

ExpertGroups make_expert_groups(Communicator& world, int64_t size) {
  if (size < 1 || world.size() % size != 0) {
    throw UsageError(mose::str("expert parallelism: groups of ", size, " do not divide ", world.size(), " processes"));
  }
  return {world.split(world.rank() / size), world.split(world.rank() % size)};
}

void shard_experts(moe::MoeLayer& layer, std::shared_ptr<Communicator> parallel) {
  const int64_t experts = layer.expert_count(), size = parallel->size();
  if (experts % size != 0) {
    throw UsageError(mose::str("expert parallelism: ", experts, " experts cannot be divided over ", size, " processes"));
  }
  if (size == 1) return;
  const int64_t own = experts / size, first = own * parallel->rank();
  const auto keep_part = [&](Tensor tensor) {
    if (tensor.size(0) != experts) throw Error(mose::str("expert parallelism: a tensor ", tensor.sizes(), " for ", experts, " experts"));
    tensor.set_data(tensor.detach().narrow(0, first, own).clone());
  };
  for (const Tensor& parameter : layer.experts().parameters()) keep_part(parameter);
  for (const auto& place : nn::lora_places(layer.experts())) {
    if (!*place.adapter) continue;
    keep_part((*place.adapter)->A);
    keep_part((*place.adapter)->B);
  }
  layer.set_exchange(std::make_shared<AllToAll>(std::move(parallel)));
}

Tensor whole_experts(const Tensor& part, Communicator& parallel) {
  std::vector<int64_t> shape = part.sizes().vec();
  shape.at(0) *= parallel.size();
  const Tensor whole = torch::empty(shape, part.options().requires_grad(false));
  parallel.all_gather(whole, part.contiguous()).wait();
  return whole;
}

Tensor whole_norm(const Tensor& common, const Tensor& divided, Communicator& parallel) {
  const Tensor squared = divided.to(torch::kFloat64).square();
  parallel.all_reduce(squared).wait();
  return (common.to(torch::kFloat64).square() + squared.to(common.device())).sqrt().to(torch::kFloat32);
}

}  // namespace mose::dist
