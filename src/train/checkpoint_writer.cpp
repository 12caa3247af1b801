#include "train/checkpoint_writer.h"

namespace mose::train {
namespace {

using torch::Tensor;

Tensor copy(const Tensor& tensor) { return tensor.detach().to(torch::kCPU, /*non_blocking=*/false, /*copy=*/true); }

void copy_all(std::map<std::string, Tensor>& tensors) {
  for (auto& [name, tensor] : tensors) tensor = copy(tensor);
}

}  // namespace

void CheckpointWriter::save(const models::Bundle& bundle, CheckpointContents contents) {
  wait();
  if (!beside_) return save_checkpoint(run_, *world_, bundle, contents, keep_);
  copy_all(contents.weights);
  copy_all(contents.optimizer);
  for (auto& [name, lora] : contents.adapters) {
    lora = std::make_shared<nn::Lora>(*lora);
    lora->A = copy(lora->A);
    lora->B = copy(lora->B);
  }
  writing_ = std::async(std::launch::async, [this, &bundle, contents = std::move(contents)] {
    save_checkpoint(run_, *world_, bundle, contents, keep_);
  });
}

void CheckpointWriter::wait() {
  if (writing_.valid()) writing_.get();
}

}  // namespace mose::train
