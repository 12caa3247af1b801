// What the stages of one run share.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <vector>

#include "mose/data/loader.h"
#include "mose/dist/expert_parallel.h"
#include "mose/infer/generator.h"
#include "mose/models/bundle.h"
#include "mose/nn/lora.h"
#include "mose/optim/adamw.h"
#include "mose/train/corpus.h"
#include "mose/train/losses.h"
#include "mose/train/metrics.h"
#include "mose/train/recipe.h"
#include "mose/train/run_checkpoint.h"
#include "train/checkpoint_writer.h"
#include "train/samples.h"
#include "mose/train/words.h"

namespace mose::train {

struct Session {
  const Recipe& recipe;
  std::filesystem::path run;
  std::shared_ptr<dist::Communicator> world;
  dist::ExpertGroups experts;           // empty: every process has all experts
  bool dry = false;
  torch::Device device;
  models::Bundle bundle;
  std::vector<data::Encoded> train_samples, validation_samples;
  std::vector<data::Batch> validation;  // fixed batches, on the device
  std::optional<data::FeatureCache> features;  // of the stage's tower, where data.feature_cache is used
  std::filesystem::path root;           // of the images
  WordTables words;
  RunState state;
  nn::Adapters adapters;                // of the stage that runs
  nn::Adapters saved_adapters;          // of the checkpoint that this attempt began with
  std::vector<SampleQuestion> questions;  // answered at every validation
  double peak_flops = 0;                // of this process's device, a second
  std::unique_ptr<Metrics> metrics;     // of rank 0
  std::unique_ptr<CheckpointWriter> writer;
  std::chrono::steady_clock::time_point started;  // of this attempt
  double seconds_before = 0;                      // of earlier attempts

  bool first() const { return world->rank() == 0; }
  bool keeps() const { return first() && !dry; }  // models and checkpoints are this process's to write
  void write(const Json& line, const std::string& prefix) {
    if (metrics) metrics->write(line, prefix);
  }
  Compute compute() const {
    return {recipe.recompute, {recipe.precision == "autocast", torch::kBFloat16, true}};
  }
  double seconds() const {
    return seconds_before + std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  }
};

// Of the validation split where `stage` is null.
data::Loader make_loader(const Session& session, std::vector<data::Encoded> samples, const StageConfig* stage, data::Shard shard = {});

// At the start of a stage: a tower that it does not train is frozen, and its features are taken from data.feature_cache
// where images are seen as they are; loads the held-out batches accordingly.
void settle_tower(Session& session, const StageConfig& stage);
void report_features(const Session& session, const StageConfig& stage);

// Both continue at session.state and leave it after the stage's last step.
void run_gradient_stage(Session& session, const StageConfig& stage,
                        const std::map<std::string, torch::Tensor>& optimizer_state);
void run_cached_router_stage(Session& session, const StageConfig& stage);

// Parameters of a stage; the others are frozen. UsageError when the patterns match nothing.
std::vector<optim::NamedParameter> select_trainable(Session& session, const StageConfig& stage);

// At the start of a stage with lora: new adapters, or a checkpoint's in the middle of the stage.
void attach_adapters(Session& session, const StageConfig& stage);
// At its end: writes RUN/adapters/STAGE, merges, and leaves a plain model.
void finish_adapters(Session& session, const StageConfig& stage);

}  // namespace mose::train
