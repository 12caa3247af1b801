#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/fused.h"
#include "nn/cpu/tensors.h"
#include "nn/cuda/tensors.h"
#include "nn/product.h"

namespace mose::nn {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kChunkRows = 384, kGpuChunkRows = 2048;  // the weight's gradient is added up once a chunk

void check_targets(const Tensor& targets_R, int64_t classes) {
  if (!targets_R.is_cpu()) return;  // elsewhere the kernel does, which does not make the host wait
  const int64_t* target = targets_R.const_data_ptr<int64_t>();
  for (int64_t r = 0; r < targets_R.numel(); ++r) {
    if (target[r] < 0 || target[r] >= classes) {
      throw Error(mose::str("vocabulary loss: target ", target[r], " of row ", r, ": expected 0 to ", classes - 1));
    }
  }
}

// The logits of rows: in `buffer` where there is one; in the products' own type where kernels read it, else in float32.
Tensor logits_of(const Tensor& x_RD, const Tensor& weight_VD, const Tensor& bias_V, const Tensor& buffer) {
  if (!buffer.defined()) {
    const Tensor logits_RV = product(x_RD, weight_VD, bias_V.defined() ? std::optional(bias_V) : std::nullopt);
    return cpu::has_kernels(logits_RV) ? logits_RV : logits_RV.to(torch::kFloat32);
  }
  Tensor logits_RV = buffer.narrow(0, 0, x_RD.size(0));
  if (bias_V.defined()) at::addmm_out(logits_RV, bias_V, x_RD, weight_VD.t());
  else at::mm_out(logits_RV, x_RD, weight_VD.t());
  return logits_RV;
}

// The losses of rows with these logits, which are overwritten by weights times their gradient where there are weights.
Tensor row_losses(Tensor& logits_RV, const Tensor& targets_R, const Tensor& weights_R) {
  const int64_t rows = logits_RV.size(0), classes = logits_RV.size(1);
  if (cuda::has_kernels(logits_RV)) {
    const Tensor losses_R = at::empty({rows}, logits_RV.options().dtype(torch::kFloat32));
    cuda::with_kernels(logits_RV, [&]<class T>(auto stream, T) {
      cuda::cross_entropy(stream, cuda::out<T>(logits_RV), cuda::in<int64_t>(targets_R),
                          weights_R.defined() ? cuda::in<float>(weights_R) : nullptr, cuda::out<float>(losses_R), rows, classes);
    });
    return losses_R;
  }
  if (cpu::has_kernels(logits_RV)) {
    const Tensor losses_R = at::empty({rows}, logits_RV.options().dtype(torch::kFloat32));
    cpu::with_kernels(logits_RV, [&]<class T>(const auto& k, T) {
      cpu::for_rows(rows, classes, [&](int64_t begin, int64_t end) {
        k.cross_entropy(cpu::out<T>(logits_RV), cpu::in<int64_t>(targets_R), weights_R.defined() ? cpu::in<float>(weights_R) : nullptr,
                        cpu::out<float>(losses_R), begin, end, classes);
      });
    });
    return losses_R;
  }
  const Tensor target_R1 = targets_R.unsqueeze(1), whole_R1 = logits_RV.logsumexp(1, true);
  const Tensor losses_R = (whole_R1 - logits_RV.gather(1, target_R1)).squeeze(1);
  if (weights_R.defined()) {
    logits_RV.sub_(whole_R1).exp_().scatter_add_(1, target_R1, at::full_like(whole_R1, -1)).mul_(weights_R.unsqueeze(1));
  }
  return losses_R;
}

// sum += gradient^T x, in float32: products of a short type are made a block of classes at a time on a CPU, where they would take as much
// memory as the sum.
void add_weight_gradient(Tensor& sum_VD, const Tensor& gradient_RV, const Tensor& x_RD) {
  constexpr int64_t kBlock = 4096;
  if (x_RD.scalar_type() == torch::kFloat32) {
    sum_VD.addmm_(gradient_RV.t(), x_RD);
    return;
  }
  const int64_t classes = sum_VD.size(0), step = x_RD.is_cpu() ? kBlock : std::max<int64_t>(1, classes);
  for (int64_t v = 0; v < classes; v += step) {
    const int64_t n = std::min(step, classes - v);
    sum_VD.narrow(0, v, n).add_(at::mm(gradient_RV.narrow(1, v, n).t(), x_RD));
  }
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& weight,
                               const std::optional<Tensor>& bias, const Tensor& targets_R, const Tensor& weights_R,
                               bool with_gradient) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto device = hidden.device().type();
    const auto type = at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device) : weight.scalar_type();
    const Tensor x = hidden.to(type), w = weight.to(type), b = bias ? bias->to(type) : Tensor();
    const int64_t most = x.is_cuda() ? kGpuChunkRows : kChunkRows;
    const int64_t rows = x.size(0), chunks = std::max<int64_t>(1, (rows + most - 1) / most);
    const bool for_hidden = with_gradient && hidden.requires_grad(), for_weight = with_gradient && weight.requires_grad(),
               for_bias = with_gradient && bias && bias->requires_grad();
    Tensor grad_x = for_hidden ? at::empty_like(x) : Tensor(), grad_w, grad_b;
    // A GPU's kernel reads the products' own type, and all chunks share one memory.
    const Tensor buffer = cuda::has_kernels(x) ? at::empty({(rows + chunks - 1) / chunks, w.size(0)}, x.options()) : Tensor();
    std::vector<Tensor> losses;
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t begin = rows * c / chunks, n = rows * (c + 1) / chunks - begin;
      const Tensor x_c = x.narrow(0, begin, n);
      Tensor logits = logits_of(x_c, w, b, buffer);
      losses.push_back(row_losses(logits, targets_R.narrow(0, begin, n),
                                  with_gradient ? weights_R.narrow(0, begin, n) : Tensor()));
      const Tensor grad = logits.to(type);
      if (for_hidden) grad_x.narrow(0, begin, n).copy_(product(grad, w.t()));
      if (for_weight && chunks == 1) {
        grad_w = at::mm(grad.t(), x_c);
      } else if (for_weight) {
        if (c == 0) grad_w = at::zeros(w.sizes(), w.options().dtype(torch::kFloat32));
        add_weight_gradient(grad_w, grad, x_c);
      }
      if (for_bias) {
        const Tensor sum = logits.sum(0, false, torch::kFloat32);
        grad_b = c == 0 ? sum : grad_b + sum;
      }
    }
    // In the types of what they belong to.
    if (for_hidden) grad_x = grad_x.to(hidden.scalar_type());
    if (for_weight) grad_w = grad_w.to(weight.scalar_type());
    if (for_bias) grad_b = grad_b.to(bias->scalar_type());
    // Not as saved variables, which would still hold them when they are added to the parameters' gradients: these would be copies.
    ctx->saved_data["hidden"] = grad_x;
    ctx->saved_data["weight"] = grad_w;
    ctx->saved_data["bias"] = grad_b;
    const Tensor losses_R = losses.size() == 1 ? losses[0] : torch::cat(losses);
    ctx->mark_non_differentiable({losses_R});
    return {(losses_R * weights_R).sum(), losses_R};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    variable_list out;
    for (const char* key : {"hidden", "weight", "bias"}) {
      const auto found = ctx->saved_data.find(key);
      if (found == ctx->saved_data.end()) throw Error("vocabulary loss: a second backward pass through one result");
      out.push_back(std::move(found->second).toTensor());
      ctx->saved_data.erase(found);
    }
    const Tensor& scale = grads[0];
    const bool one = scale.is_cpu() && scale.item<double>() == 1;
    for (Tensor& t : out) {
      if (t.defined() && !one) t = t * scale.to(t.scalar_type());
    }
    out.resize(6);
    return out;
  }
};

}  // namespace

VocabularyLoss vocabulary_loss(const Tensor& hidden_RD, const Tensor& weight_VD, const Tensor& bias_V, const Tensor& targets_R,
                               const Tensor& weights_R) {
  check_targets(targets_R, weight_VD.size(0));
  const auto out = LinearCrossEntropy::apply(hidden_RD, weight_VD, bias_V.defined() ? std::optional(bias_V) : std::nullopt,
                                             targets_R.contiguous(), weights_R.contiguous(), at::GradMode::is_enabled());
  return {out[0], out[1]};
}

}  // namespace mose::nn
