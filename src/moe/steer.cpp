#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/dispatch.h"
#include "mose/moe/routing.h"

namespace mose::moe {

void steer(Routing& routing, const RouteControl& control, bool normalise_top_k) {
  torch::Tensor p_TE = routing.probabilities_TE;
  const int64_t experts = p_TE.size(1), top_k = routing.experts_TK.size(1);
  if (control.given_TE.defined()) {
    if (control.given_TE.sizes() != p_TE.sizes()) {
      throw Error(mose::str("routing: given shares are ", control.given_TE.sizes(), ": expected ", p_TE.sizes()));
    }
    const torch::Tensor given_TE = control.given_TE.to(p_TE.options());
    p_TE = at::where(given_TE.sum(1, /*keepdim=*/true) > 0, given_TE, p_TE);
  }
  torch::Tensor order_TE = p_TE.detach();
  if (control.removed >= 0) {
    if (control.removed >= experts || top_k >= experts) {
      throw Error(mose::str("routing: without expert ", control.removed, " of ", experts, " each token needs ", top_k, " others"));
    }
    order_TE = order_TE.index_fill(1, torch::tensor({control.removed}, torch::kInt64).to(p_TE.device()), -1.0);
  }
  routing.experts_TK = top_k_indices(order_TE, top_k);
  const torch::Tensor chosen_TK = p_TE.gather(1, routing.experts_TK);
  // The share of a removed expert may be all there was: then the others count alike.
  const double least = std::numeric_limits<float>::min();
  routing.weights_TK = normalise_top_k ? (chosen_TK + least) / (chosen_TK + least).sum(1, /*keepdim=*/true) : chosen_TK;
}

}  // namespace mose::moe
