#include "mose/train/recipe.h"

#include <set>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::train {

void DataConfig::visit(FieldVisitor& v) {
  v.field("root", root, "CODA root, or what mose-data scenes wrote; prepared into RUN/data");
  v.field("dataset", dataset, "or a dataset that mose-data prepare wrote");
  v.field("train_split", train_split, "split to train on");
  v.field("validation_split", validation_split, "split for validation losses and routing accuracy");
  v.field("taxonomy", taxonomy, "skill taxonomy file; empty = the default");
  v.field("form", form, "which form of the dataset to train on", {"single_turn", "multi_turn"});
  v.field("regions", regions, "also train on region questions");
  v.field("skip_bad", skip_bad, "leave out malformed annotations (counted and listed) instead of stopping");
  v.field("max_scenes", max_scenes, "use the first so many images of the training split, with all their samples; 0 = all", 0, 1e9);
  v.group("labels", labels, "controls on the skill labels of the training split");
  v.field("max_validation", max_validation, "samples that validation measures on", 1, 1e9);
  v.field("vocabulary", vocabulary, "entries of the tokenizer trained when the model starts from nothing", 300, 1e6);
  v.field("feature_cache", feature_cache,
          "folder for what the tower makes of each image, kept by content, in stages that do not train it; empty = none");
  v.group("encode", encode, "from samples to tokens and labels");
  v.group("loader", loader, "from tokens to batches");
}

LossWeights::LossWeights() {
  // Only the language loss counts unless a recipe says more.
  for (auto* weight : {&skill, &stage, &balance, &z, &region, &words}) weight->value = 0;
}

void LossWeights::visit(FieldVisitor& v) {
  v.group("lm", lm, "weight of the language loss");
  v.group("skill", skill, "weight of the routers' skill loss");
  v.group("stage", stage, "weight of the routers' stage loss");
  v.group("balance", balance, "weight of the load-balancing loss");
  v.group("z", z, "weight of the router z loss");
  v.group("region", region, "weight of the region loss on the tower's patches");
  v.group("words", words, "weight of the words loss on the image's rows");
  v.field("describe", describe, "weight of the describe segment in the language loss", 0, 1e6);
  v.field("reason", reason, "weight of the reason segment", 0, 1e6);
  v.field("plan", plan, "weight of the plan segment", 0, 1e6);
  v.field("region_positive", region_positive, "weight of a covered patch in the region loss", 0, 1e6);
}

StageConfig::StageConfig() = default;

void StageConfig::visit(FieldVisitor& v) {
  v.field("name", name, "name in logs and checkpoints");
  v.field("kind", kind, "what is trained", {"projector", "dense", "router", "finetune"});
  v.field("steps", steps, "optimizer steps", 0, 1e9);
  v.field("lr", lr, "peak learning rate", 0, 10);
  v.group("schedule", schedule, "factor on the learning rate");
  v.group("optimizer", optimizer, "AdamW");
  v.field("clip", clip, "largest gradient norm; 0 = no clipping", 0, 1e9);
  v.field("accumulate", accumulate, "parts in which a global batch is computed, divided over the processes", 1, 4096);
  v.field("trainable", trainable, "parameter patterns; a later !pattern takes out; empty = the kind's, with lora none");
  v.group("lora", lora, "low-rank adapters, trained on a frozen model and merged at the end of the stage; null = none");
  v.field("upcycle", upcycle, "at the start: none, sparse (by the recipe's moe) or wide (its dense twin)",
          {"none", "sparse", "wide"});
  v.field("route_by", route_by, "labels: an oracle, in training and validation; labelled rows go to the experts of their labels",
          {"router", "labels"});
  v.field("router_form", router_form, "kind router: over cached activations, or through the trainer",
          {"cached", "plain"});
  v.field("cache_tokens", cache_tokens, "rows a layer kept in memory by the cached form", 1, 1e12);
  v.field("cache_batch", cache_batch, "rows of one step of the cached form", 1, 1e9);
  v.field("mix", mix, "task -> weight, instead of data.loader.mix");
  v.group("loss", loss, "weights of the losses");
}

void Recipe::visit(FieldVisitor& v) {
  v.field("seed", seed_value, "seed of every random stream", 0, 9e15);
  v.field("init_from", init_from, "model directory to start from; empty = random weights");
  v.field("threads", threads, "CPU threads; 0 = all", 0, 1024);
  v.field("device", device, "auto, cpu or cuda", {"auto", "cpu", "cuda"});
  v.field("precision", precision,
          "float32; autocast: float32 weights, products in bfloat16; bfloat16: weights too, with float32 master weights",
          {"float32", "autocast", "bfloat16"});
  v.field("shard_optimizer", shard_optimizer, "divide the optimizer's state over the processes (ZeRO-1)");
  v.field("expert_parallel", expert_parallel,
          "processes in a row that divide the experts of every sparse layer among them; 1 = each has all", 1, 4096);
  v.field("recompute", recompute, "run the blocks of tower and decoder again in the backward pass instead of keeping their activations");
  v.group("data", data, "what is trained on");
  v.group("preprocess", preprocess, "image preprocessing of a new model");
  v.group("model", model, "a new model");
  v.field("calibrate", calibrate, "images that a new model's tower and projector are scaled to; 0 = none", 0, 1e6);
  v.group("moe", moe, "the sparse layers that upcycling makes");
  v.list("stages", stages, "what is done, in order");
  v.field("log_every", log_every, "steps between lines of metrics.jsonl", 1, 1e9);
  v.field("validate_every", validate_every, "steps between validations; 0 = at the end of each stage", 0, 1e9);
  v.field("checkpoint_every", checkpoint_every, "steps between checkpoints; 0 = at the end of each stage", 0, 1e9);
  v.field("keep_checkpoints", keep_checkpoints, "how many of the newest checkpoints stay", 1, 1e6);
  v.field("milestone_every", milestone_every, "checkpoints at multiples of so many steps stay for good; 0 = none", 0, 1e9);
  v.field("best", best, "a loss of validation (loss, loss_plan, ...): the model at its least value is kept in RUN/best; empty = none");
  v.field("expert_removal", expert_removal, "measure at the end each skill's validation loss without each expert, into routing.json");
  v.field("checkpoint_beside", checkpoint_beside,
          "write checkpoints while the steps go on, from a copy of weights and optimizer state in memory");
  v.field("samples", samples, "held-out questions that are answered at every validation, into RUN/samples.jsonl", 0, 1000);
  v.field("sample_tokens", sample_tokens, "most tokens of such an answer", 1, 65536);
  v.field("peak_teraflops", peak_teraflops, "of a process's device, for share_of_peak; 0 = a matrix product measures it at the start", 0, 1e6);
  v.field("stall_warning", stall_warning, "seconds without a finished step after which the log says so; 0 = never", 0, 1e6);
}

void check_recipe(const Recipe& recipe) {
  if (recipe.stages.empty()) throw UsageError("recipe: \"stages\" is empty; give at least one stage");
  if (recipe.data.root.empty() == recipe.data.dataset.empty()) {
    throw UsageError("recipe: give data.root (a CODA root) or data.dataset (of mose-data prepare), and not both");
  }
  std::set<std::string> names;
  for (const auto& stage : recipe.stages) {
    if (!names.insert(stage.name).second) {
      throw UsageError(str("recipe: two stages are named \"", stage.name, "\""));
    }
    if (stage.lora && (stage.kind != "dense" && stage.kind != "finetune")) {
      throw UsageError(str("recipe: stage ", stage.name, ": lora goes with kind dense or finetune, found ", stage.kind));
    }
    if (stage.lora && recipe.expert_parallel > 1) {
      throw UsageError(str("recipe: stage ", stage.name, ": lora does not go with expert_parallel = ", recipe.expert_parallel,
                           "; a frozen model needs no dividing of its experts' optimizer state, so set it to 1"));
    }
    if (stage.lora && (stage.name.empty() || stage.name[0] == '.' || stage.name.find('/') != std::string::npos)) {
      throw UsageError(str("recipe: stage \"", stage.name, "\": its adapters go to a folder of its name, which this cannot be"));
    }
    if (stage.route_by == "labels" && stage.kind != "finetune") {
      throw UsageError(str("recipe: stage ", stage.name, ": route_by = labels goes with kind finetune, found ", stage.kind));
    }
    if (recipe.data.loader.batch_samples % stage.accumulate != 0) {
      throw UsageError(str("recipe: stage ", stage.name, ": accumulate = ", stage.accumulate,
                           ": expected a divisor of data.loader.batch_samples = ", recipe.data.loader.batch_samples));
    }
  }
}

std::vector<std::string> trainable_patterns(const StageConfig& stage) {
  if (!stage.trainable.empty() || stage.lora) return stage.trainable;
  if (stage.kind == "projector") return {"model.multi_modal_projector.*", "model.image_newline"};
  if (stage.kind == "router") return {"*.mlp.gate.*"};
  return {"*"};
}

}  // namespace mose::train
