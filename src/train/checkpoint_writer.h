// Checkpoints written while the training goes on.
#pragma once

#include <future>

#include "mose/train/run_checkpoint.h"

namespace mose::train {

class CheckpointWriter {
 public:
  // `world` is a group of the run's processes that nothing else uses, since its collectives come from another thread. With
  // `beside` false save() returns when the checkpoint is whole.
  CheckpointWriter(std::filesystem::path run, std::shared_ptr<dist::Communicator> world, Keep keep, bool beside)
      : run_(std::move(run)), world_(std::move(world)), keep_(keep), beside_(beside) {}

  // Called by all processes. Waits for the checkpoint before and throws what that one met, then copies what steps
  // change and returns. `bundle` gives the config and the tokenizer, and is not replaced before wait().
  void save(const models::Bundle& bundle, CheckpointContents contents);
  // Until the last checkpoint is whole; throws what it met. The destructor waits too.
  void wait();

 private:
  const std::filesystem::path run_;
  const std::shared_ptr<dist::Communicator> world_;
  const Keep keep_;
  const bool beside_;
  std::future<void> writing_;
};

}  // namespace mose::train
