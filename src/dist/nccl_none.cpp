#include "dist/nccl.h"
#include "mose/core/error.h"

namespace mose::dist {

bool has_nccl() { return false; }

void require_nccl() { throw UsageError("distributed backend nccl: this program was built without CUDA; use gloo, or build with MOSE_CUDA"); }

std::shared_ptr<Communicator> join_nccl(std::shared_ptr<GlooCommunicator>) {
  require_nccl();
  return nullptr;
}

}  // namespace mose::dist
