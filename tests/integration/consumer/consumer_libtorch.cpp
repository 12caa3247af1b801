// Uses a LibTorch folder of an installed mose.
#include <iostream>

#include "mose/nn/sequence_plan.h"

int main() {
  const mose::nn::SequencePlan plan = mose::nn::make_plan({2, 3});
  std::cout << plan.sequences() << " sequences of " << plan.positions_T.size(0) << " rows\n";
}
