// What a model costs: parameters in all and activated by one token, memory, arithmetic. Computed from
// the config alone, so a model of any size is accounted without being built.
#pragma once

#include "mose/core/json.h"
#include "mose/models/vlm.h"
#include "mose/skills/taxonomy.h"

namespace mose::models {

constexpr vision::ImageSize kTypicalImage{1920, 1080};  // of most of CODA's

struct Account {
  // Parameters.
  int64_t vision = 0, projector = 0, embedding = 0, attention = 0, norms = 0, dense_ffn = 0, head = 0;
  int64_t routers = 0, experts = 0;            // all experts of all sparse layers
  int64_t activated_experts = 0;               // the top-K of each sparse layer
  int64_t region_head = 0;                     // used in training only
  int64_t largest = 0, largest_experts = 0;    // of a single parameter; of one that stacks the experts of a layer

  int64_t language_total() const { return embedding + attention + norms + dense_ffn + head + routers + experts; }
  int64_t language_activated() const { return language_total() - experts + activated_experts; }
  int64_t total() const { return vision + projector + language_total() + region_head; }
  int64_t activated() const { return vision + projector + language_activated(); }
};

// `skills` and `stages` size the hierarchical router (0 for a dense model).
Account account(const Config& config, int64_t skills, int64_t stages);

// How a run divides what training keeps (the recipe's keys of these names).
struct TrainingForm {
  std::string precision = "float32";  // autocast keeps what float32 keeps
  int64_t processes = 1;
  bool shard_optimizer = false;
  int64_t expert_parallel = 1;
};
// Bytes that one process holds where every parameter learns; activations come on top.
struct TrainingMemory {
  double weights = 0, gradients = 0, optimizer = 0;
  double moving = 0;  // of several processes: the largest parameter's gradient while it moves into its bucket

  double total() const { return weights + gradients + optimizer + moving; }
};
// UsageError where the processes cannot be divided so.
TrainingMemory training_memory(const Account& account, const TrainingForm& form);

// The account with derived figures: bytes of weights by type, bytes to train with AdamW in float32
// and in bfloat16 with float32 master weights, FLOPs of one decoder token (2 a multiply-add, without
// attention's own products), and the rows that an image takes: at most, and one of 1920 x 1080 pixels.
Json account_to_json(const Config& config, const Account& account);
std::string account_table(const Config& config, const Account& account);

}  // namespace mose::models
