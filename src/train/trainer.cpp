#include "mose/train/trainer.h"

#include <torch/torch.h>

#include <set>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/random.h"
#include "mose/core/resources.h"
#include "mose/models/account.h"
#include "mose/models/adapter.h"
#include "mose/models/upcycle.h"
#include "mose/train/routing_report.h"
#include "train/flops.h"
#include "train/peak_memory.h"
#include "train/whole_model.h"

namespace mose::train {

namespace fs = std::filesystem;

namespace {

torch::Device choose_device(const std::string& name, int64_t local_rank) {
  const bool cuda = at::hasCUDA() && torch::cuda::is_available();
  if (name == "cuda" && !cuda) throw UsageError("device = cuda: no CUDA device is available to this build");
  if (name == "cpu" || !cuda) return torch::kCPU;
  const auto count = static_cast<int64_t>(torch::cuda::device_count());
  if (local_rank >= count) {
    throw UsageError(str("process ", local_rank, " of this host has no GPU of its own: ", count, " are visible; start one process a GPU"));
  }
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(local_rank)};
}

// What one process of a run does for all; an error of it ends the others.
void by_first(dist::Communicator& world, const std::function<void()>& work) {
  if (world.rank() == 0) work();
  world.barrier();
}

void place(Session& session) {
  auto& model = *session.bundle.model;
  model.to(session.device);
  if (session.recipe.precision == "bfloat16") model.to(torch::kBFloat16);
  divide_experts(session);
}

// Refuses a folder that holds another run, unless that one ended before its first step; with `resume` another recipe is warned of.
void open_run(const Recipe& recipe, const TrainOptions& options) {
  const Json config = to_json_config(recipe);
  const fs::path file = options.run / "config.json";
  const bool begun = fs::exists(file) && (fs::exists(options.run / "metrics.jsonl") || fs::exists(options.run / "checkpoints"));
  if (begun && !options.resume) {
    throw UsageError(str(options.run.string(), " holds a run already; give --resume auto, or another --run"));
  }
  if (begun && load_json(file) != config) log::warn(file.string(), " differs from this recipe; the run goes on with the recipe given now");
  make_directories(options.run);
  save_json(file, config);
}

models::Bundle new_bundle(const Recipe& recipe, const Corpus& corpus) {
  models::Config config = recipe.model;
  vision::PreprocessConfig preprocess = recipe.preprocess;
  preprocess.width = config.vision.image_width;
  preprocess.height = config.vision.image_height;
  auto tokenizer = train_tokenizer(corpus.train, recipe.data.vocabulary, config.chat_template);
  config.language.vocab_size = tokenizer.vocabulary_size();
  config.image_token_id = tokenizer.token_to_id("<image>");
  if (config.region_categories == std::vector<std::string>{"*"}) {
    std::set<std::string> found;
    for (const auto& sample : corpus.train.samples) {
      for (const auto& object : sample.objects) found.insert(object.category);
    }
    config.region_categories.assign(found.begin(), found.end());
  }
  log::info("tokenizer: ", tokenizer.vocabulary_size(), " entries learnt from the training split");
  return {models::make_model(config, recipe.seed(), &corpus.train.taxonomy), std::move(tokenizer), preprocess,
          corpus.train.taxonomy};
}

models::Bundle starting_bundle(const Recipe& recipe, const Corpus& corpus, const std::optional<Checkpoint>& from) {
  if (from) return models::load_bundle(from->dir / "model");
  if (!recipe.init_from.empty()) return models::load_bundle(recipe.init_from);
  return new_bundle(recipe, corpus);
}

void upcycle_for_stage(Session& session, const StageConfig& stage) {
  auto& bundle = session.bundle;
  if (stage.upcycle == "none") return;
  session.writer->wait();  // it reads the bundle
  const uint64_t seed = session.recipe.seed() + 1;
  if (stage.upcycle == "sparse") {
    bundle.model = models::upcycle(*bundle.model, session.recipe.moe, bundle.taxonomy,
                                   skill_mass(session.train_samples, bundle.taxonomy), seed);
  } else {
    bundle.model = models::widen(*bundle.model, session.recipe.moe, seed);
  }
  place(session);
  const auto a = models::account(bundle.model->config(), static_cast<int64_t>(bundle.taxonomy.skills().size()),
                                 static_cast<int64_t>(bundle.taxonomy.stages().size()));
  log::info("upcycled (", stage.upcycle, "): ", human_count(static_cast<double>(a.total())), " parameters, ",
            human_count(static_cast<double>(a.activated())), " activated");
}

// RUN/routing.json keeps what was measured before and after router pretraining, and at the end.
void report_routing(Session& session, const char* moment) {
  // With experts divided over processes all of them come to every layer.
  if (!session.bundle.model->sparse() || !(session.first() || session.experts.parallel)) return;
  const nn::AutocastGuard autocast(session.device.type(), session.compute().autocast);
  const Json measured = measure_routing(*session.bundle.model, session.validation);
  Json removal;
  if (session.recipe.expert_removal && moment == std::string("final")) removal = measure_removal(*session.bundle.model, session.validation);
  if (!session.first()) return;
  const fs::path file = session.run / "routing.json";
  Json report = fs::exists(file) ? load_json(file) : routing_header(*session.bundle.model, session.bundle.taxonomy);
  report[moment] = measured;
  if (!removal.is_null()) report["removal"] = removal;
  save_json(file, report, -1);
  const auto& m = report[moment];
  auto percent = [](const Json& value) { return value.is_number() ? fixed(100 * value.get<double>(), 1) + " %" : "-"; };
  log::info("routing (", moment, ") on held-out samples: stage accuracy ", percent(m["stage_accuracy"]), ", skill accuracy ",
            percent(m["skill_accuracy"]), ", top expert assigned to the token's skill ", percent(m["assigned_share"]));
}

// A model that starts from nothing is scaled to the pictures it will see.
void calibrate(Session& session) {
  StageConfig stage;
  stage.name = "calibration";
  std::vector<torch::Tensor> pixels, regions;
  auto loader = make_loader(session, session.train_samples, &stage);
  for (int64_t images = 0; images < session.recipe.calibrate;) {
    const auto batch = loader.next();
    if (!batch.pixels_BCHW.defined()) return;  // text alone, or no sample that can be read
    pixels.push_back(batch.pixels_BCHW);
    if (batch.region_BPC.defined()) regions.push_back(batch.region_BPC);
    images += batch.image_count();
  }
  session.bundle.model->calibrate(torch::cat(pixels).to(session.device),
                                  regions.empty() ? torch::Tensor() : torch::cat(regions).to(session.device),
                                  session.recipe.stages.front().loss.region_positive);
}

void run_stages(Session& session, const std::map<std::string, torch::Tensor>& optimizer_state) {
  auto& state = session.state;
  bool resumed = !optimizer_state.empty();
  const auto count = static_cast<int64_t>(session.recipe.stages.size());
  if (state.stage == count) settle_tower(session, session.recipe.stages.back());  // the last report is still to be made
  while (state.stage < count) {
    const StageConfig& stage = session.recipe.stages[static_cast<size_t>(state.stage)];
    if (state.stage_step == 0) upcycle_for_stage(session, stage);
    settle_tower(session, stage);
    if (state.stage_step == 0 && stage.kind == "router") report_routing(session, "before");
    if (stage.kind == "router" && stage.router_form == "cached") {
      run_cached_router_stage(session, stage);
    } else {
      run_gradient_stage(session, stage, resumed ? optimizer_state : std::map<std::string, torch::Tensor>{});
    }
    resumed = false;
    if (stage.kind == "router") report_routing(session, "after");
    report_features(session, stage);
    ++state.stage;
    state.stage_step = 0;
    state.loader = nullptr;
    state.seconds = session.seconds();
    if (session.dry) continue;
    auto contents = whole_model(session, {});
    contents.state = state;
    session.writer->save(session.bundle, std::move(contents));
  }
}

void write_summary(const Session& session, int64_t peak_memory) {
  const auto& taxonomy = session.bundle.taxonomy;
  Json summary = models::account_to_json(
      session.bundle.model->config(),
      models::account(session.bundle.model->config(), static_cast<int64_t>(taxonomy.skills().size()),
                      static_cast<int64_t>(taxonomy.stages().size())));
  summary["steps"] = session.state.step;
  summary["train_seconds"] = session.state.seconds;
  summary["processes"] = session.world->size();
  summary["peak_memory_mib"] = peak_memory;  // of the process that held most
  save_json(session.run / "summary.json", summary);
}

}  // namespace

data::Loader make_loader(const Session& session, std::vector<data::Encoded> samples, const StageConfig* stage, data::Shard shard) {
  auto config = session.recipe.data.loader;
  config.pin_memory = config.pin_memory && session.device.is_cuda();
  const auto& model = session.bundle.model->config();
  const std::string name = stage ? stage->name : "validation";
  if (stage) {
    config.batch_samples /= stage->accumulate;
    config.batch_tokens /= stage->accumulate;
    if (!stage->mix.is_null()) config.mix = stage->mix;
  } else {
    config.shuffle = false;
    config.mix = Json::object();
    config.last_batch = "keep";
    config.augment_brightness = 0;
  }
  const data::RegionGrid grid{model.region_categories, model.vision.grid_height(), model.vision.grid_width(),
                              model.projector.merge};
  const data::LabelSizes sizes{static_cast<int64_t>(session.bundle.taxonomy.stages().size()),
                               static_cast<int64_t>(session.bundle.taxonomy.skills().size())};
  // Every stage has its own order of samples.
  RandomStream stream(session.recipe.seed(), "stage/" + name);
  return data::Loader(std::move(samples), session.root, session.bundle.preprocess, config, sizes, stream.next() >> 1, grid, shard,
                      session.features);
}

void check_processes(const Recipe& recipe, int64_t processes) {
  for (const auto& stage : recipe.stages) {
    const bool gradients = stage.kind != "router" || stage.router_form != "cached";
    if (gradients && stage.accumulate % processes != 0) {
      throw UsageError(str("stage ", stage.name, ": accumulate = ", stage.accumulate, " parts of a global batch cannot be divided over ",
                           processes, " processes; give a multiple, for example --set stages.", stage.name, ".accumulate=", processes));
    }
  }
}

void train(const Recipe& recipe, const TrainOptions& options) {
  const auto world = options.world ? options.world : dist::make_communicator({});
  check_recipe(recipe);
  check_processes(recipe, world->size());
  if (recipe.threads > 0) torch::set_num_threads(static_cast<int>(recipe.threads));
  by_first(*world, [&] { open_run(recipe, options); });
  log::add_file(options.run / (world->rank() == 0 ? "log.txt" : str("log.rank", world->rank(), ".txt")));
  const auto device = choose_device(recipe.device, options.local_rank);
  std::optional<Checkpoint> from;
  if (options.resume) {
    by_first(*world, [&] { from = find_checkpoint(options.run); });  // removes what is half-written
    if (!from) from = find_checkpoint(options.run);
  }
  std::map<std::string, torch::Tensor> optimizer_state;
  if (from) {
    optimizer_state = load_optimizer(*from);
    log::info("resuming from ", from->dir.string());
  }
  Corpus corpus;
  by_first(*world, [&] { corpus = load_corpus(recipe, options.run); });  // prepares it where it is not there
  if (world->rank() != 0) corpus = load_corpus(recipe, options.run);
  Session session{.recipe = recipe, .run = options.run, .world = world, .dry = options.dry, .device = device,
                  .bundle = starting_bundle(recipe, corpus, from), .root = corpus.train.root,
                  .state = from ? from->state : RunState{}};
  session.seconds_before = session.state.seconds;
  if (recipe.expert_parallel > 1) session.experts = dist::make_expert_groups(*world, recipe.expert_parallel);
  session.writer = std::make_unique<CheckpointWriter>(options.run, world->split(0), Keep{recipe.keep_checkpoints, recipe.milestone_every},
                                                      recipe.checkpoint_beside);
  place(session);
  if (from && fs::exists(from->dir / "adapter")) {
    session.saved_adapters = models::read_adapter(from->dir / "adapter", *session.bundle.model);
  }
  DataConfig data = recipe.data;
  data.encode.chat_template = session.bundle.model->config().chat_template;
  session.train_samples = encode_samples(corpus.train, session.bundle, data);
  session.words = word_tables(session.train_samples, session.bundle.model->config().language.vocab_size, device);
  session.validation_samples = encode_samples(corpus.validation, session.bundle, data, recipe.data.max_validation);
  session.questions = pick_questions(corpus.validation, session.bundle, data, recipe.samples);
  const auto type = recipe.precision == "float32" ? torch::kFloat32 : torch::kBFloat16;
  session.peak_flops = recipe.peak_teraflops > 0 ? 1e12 * recipe.peak_teraflops : measure_peak_flops(device, type);
  if (session.first()) session.metrics = std::make_unique<Metrics>(options.run, session.state.step);
  session.started = std::chrono::steady_clock::now();
  if (!from && recipe.init_from.empty() && recipe.calibrate > 0) calibrate(session);
  run_stages(session, optimizer_state);
  session.state.seconds = session.seconds();
  report_routing(session, "final");
  const int64_t memory = dist::agree(*world, static_cast<int64_t>(peak_memory_mib(device)));
  session.writer->wait();
  save_model(session, options.run / "model");
  if (session.first()) write_summary(session, memory);
  world->barrier();
  log::info("finished: ", session.state.step, " steps in ", human_seconds(session.state.seconds), "; model in ",
            (options.run / "model").string());
  log::close_files();
}

}  // namespace mose::train
