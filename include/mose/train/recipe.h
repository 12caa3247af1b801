// A recipe is a list of stages; everything a run does is in it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mose/core/config.h"
#include "mose/data/encode.h"
#include "mose/data/loader.h"
#include "mose/models/vlm.h"
#include "mose/moe/layer.h"
#include "mose/nn/lora.h"
#include "mose/optim/adamw.h"
#include "mose/optim/schedule.h"
#include "mose/skills/disturb.h"
#include "mose/vision/preprocess.h"

namespace mose::train {

struct DataConfig {
  std::string root;              // a CODA root, or what `mose-data scenes` wrote; prepared into RUN/data
  std::string dataset;           // or a dataset that `mose-data prepare` wrote
  std::string train_split = "Train";
  std::string validation_split = "Val";
  std::string taxonomy;          // skills/*.json; empty = the default
  std::string form = "single_turn";
  bool regions = true;           // also train on region questions
  bool skip_bad = false;
  int64_t max_scenes = 0;        // images of the training split that are used, with all their samples; 0 = all
  skills::LabelControls labels;  // of the training split alone
  int64_t max_validation = 64;   // samples that routing and validation losses are measured on
  int64_t vocabulary = 1500;     // of the tokenizer trained when the model starts from nothing
  std::string feature_cache;     // a folder for the features of a tower that a stage does not train; empty = none
  data::EncodeConfig encode;
  data::LoaderConfig loader;

  void visit(FieldVisitor& v);
};

// L = lm * L_lm + skill * L_skill + stage * L_stage + balance * L_balance + z * L_z + region * L_region +
// words * L_words, each weight a number or a schedule over the stage's steps.
struct LossWeights {
  optim::ScheduleConfig lm, skill, stage, balance, z, region, words;
  double describe = 1, reason = 1, plan = 1;  // weights of the segments inside L_lm
  double region_positive = 8;                 // weight of a covered patch in L_region

  LossWeights();
  void visit(FieldVisitor& v);
};

struct StageConfig {
  std::string name = "stage";
  std::string kind = "dense";          // projector, dense, router, finetune
  int64_t steps = 100;
  double lr = 1e-3;
  optim::ScheduleConfig schedule;      // factor on lr
  optim::AdamWConfig optimizer;
  double clip = 1.0;                   // gradient norm; 0 = no clipping
  int64_t accumulate = 1;              // parts that a global batch is computed in, divided over the processes
  std::vector<std::string> trainable;  // patterns with *, a later "!pattern" takes out; empty = the kind's, or none beside lora
  std::optional<nn::LoraConfig> lora;  // adapters: attached at the start, merged at the end
  std::string upcycle = "none";        // at the start: none, sparse (the recipe's moe), wide (its dense twin)
  std::string route_by = "router";     // or "labels", an oracle: labelled rows go to the experts of their own labels
  std::string router_form = "cached";  // of kind router: cached or plain
  int64_t cache_tokens = 200000;       // rows a layer that the cached form keeps in memory
  int64_t cache_batch = 2048;          // rows of one of its steps
  Json mix;                            // overrides data.loader.mix when not null
  LossWeights loss;

  StageConfig();
  void visit(FieldVisitor& v);
};

struct Recipe {
  uint64_t seed() const { return static_cast<uint64_t>(seed_value); }
  int64_t seed_value = 1;
  std::string init_from;  // a model directory to start from; empty = random weights from `model`
  int64_t threads = 0;    // 0 = all cores
  std::string device = "auto";
  std::string precision = "float32";
  bool shard_optimizer = false;  // its state is divided over the processes (ZeRO-1)
  int64_t expert_parallel = 1;   // processes in a row that share one set of experts
  bool recompute = false;  // blocks of tower and decoder again in the backward pass: less memory, a third more work
  DataConfig data;
  vision::PreprocessConfig preprocess;
  models::Config model;
  moe::Config moe;        // what `upcycle` makes
  int64_t calibrate = 64;  // images that a new model's weights are scaled to; 0 = none
  std::vector<StageConfig> stages;
  int64_t log_every = 10;
  int64_t validate_every = 0;    // steps; 0 = at the end of each stage
  int64_t checkpoint_every = 0;  // steps; 0 = at the end of each stage
  int64_t keep_checkpoints = 2;
  int64_t milestone_every = 0;   // steps; checkpoints that stay for good, 0 = none
  std::string best;              // a key of validation's lines: RUN/best/ is the model where it was least; empty = none
  bool expert_removal = false;   // at the end: the validation loss of each skill without each expert, in routing.json
  double stall_warning = 300;    // seconds without a finished step
  bool checkpoint_beside = true; // files are written while the steps go on, from a copy in memory
  int64_t samples = 0;           // held-out questions answered at every validation
  int64_t sample_tokens = 128;   // of each answer at most
  double peak_teraflops = 0;     // of a process's device, for share_of_peak; 0 = measured by a matrix product

  void visit(FieldVisitor& v);
};

// Checks what single fields cannot: at least one stage, names once each, kinds that fit the model.
void check_recipe(const Recipe& recipe);

// The parameters a stage trains: its own patterns, or its kind's; with lora its own alone, beside the adapters.
std::vector<std::string> trainable_patterns(const StageConfig& stage);

}  // namespace mose::train
