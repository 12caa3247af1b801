#include "mose/nn/autocast.h"

#include <ATen/autocast_mode.h>

namespace mose::nn {
namespace {

void set(torch::DeviceType device, const AutocastState& state) {
  at::autocast::set_autocast_enabled(device, state.enabled);
  at::autocast::set_autocast_dtype(device, state.type);
  at::autocast::set_autocast_cache_enabled(state.cache);
}

}  // namespace

AutocastState autocast_state(torch::DeviceType device) {
  return {at::autocast::is_autocast_enabled(device), at::autocast::get_autocast_dtype(device),
          at::autocast::is_autocast_cache_enabled()};
}

AutocastGuard::AutocastGuard(torch::DeviceType device, const AutocastState& state)
    : device_(device), before_(autocast_state(device)) {
  at::autocast::increment_nesting();
  set(device, state);
}

AutocastGuard::~AutocastGuard() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  set(device_, before_);
}

}  // namespace mose::nn
