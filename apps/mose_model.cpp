// mose-model: makes, imports, exports, upcycles, merges, describes and hashes models.
#include <torch/torch.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "mose/core/config.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/program.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/io/compare.h"
#include "mose/models/account.h"
#include "mose/models/adapter.h"
#include "mose/models/bundle.h"
#include "mose/models/export.h"
#include "mose/models/import.h"
#include "mose/models/upcycle.h"
#include "mose/text/chat.h"

namespace {

using namespace mose;
namespace fs = std::filesystem;

// What `init` reads from --config and --set.
struct InitConfig {
  int64_t seed = 1;
  models::Config model;
  vision::PreprocessConfig preprocess;
  moe::Config moe;

  void visit(FieldVisitor& v) {
    v.field("seed", seed, "seed of the weights drawn", 0, 9e15);
    v.group("model", model, "a new model (without --from)");
    v.group("preprocess", preprocess, "image preprocessing of a new model");
    v.group("moe", moe, "the sparse layers that --upcycle makes");
  }
};

struct Arguments {
  ConfigOptions config;
  std::string model, other, from, vision, language, format = "hf", tokenizer, taxonomy, out, upcycle = "none", chat_template = "vicuna";
  std::string adapter;
  int64_t lora_rank = 0;
  std::vector<std::string> lora_targets;
  std::optional<int64_t> processes;
  bool json = false;
};

skills::Taxonomy taxonomy_of(const Arguments& a) {
  return skills::Taxonomy::load(a.taxonomy.empty() ? resource("skills/driving.json") : fs::path(a.taxonomy));
}

// Recipes hold the same keys among others: only those of InitConfig are read from a file.
InitConfig init_config(const Arguments& a) {
  const Json merged = merge_configs(a.config.files, a.config.sets);
  Json chosen = Json::object();
  const bool recipe = merged.contains("stages");
  for (const auto& [key, value] : merged.items()) {
    if (!recipe || key == "seed" || key == "model" || key == "preprocess" || key == "moe") chosen[key] = value;
  }
  InitConfig config;
  from_json_config(config, chosen, config_sources(a.config.files, a.config.sets));
  return config;
}

models::Account account_of(const models::Config& config, const skills::Taxonomy& taxonomy) {
  return models::account(config, static_cast<int64_t>(taxonomy.skills().size()),
                         static_cast<int64_t>(taxonomy.stages().size()));
}

// What one of --processes keeps, in the form that the recipe gives.
models::TrainingForm training_form(const Arguments& a) {
  const Json recipe = merge_configs(a.config.files, a.config.sets);
  models::TrainingForm form;
  form.processes = *a.processes;
  form.precision = recipe.value("precision", form.precision);
  form.shard_optimizer = recipe.value("shard_optimizer", form.shard_optimizer);
  form.expert_parallel = recipe.value("expert_parallel", form.expert_parallel);
  return form;
}

Json account_json(const models::Config& config, const skills::Taxonomy& taxonomy, const Arguments& a) {
  const auto account = account_of(config, taxonomy);
  Json json = models::account_to_json(config, account);
  if (!a.processes) return json;
  const auto memory = models::training_memory(account, training_form(a));
  json["process"] = {{"weights", memory.weights}, {"gradients", memory.gradients}, {"optimizer", memory.optimizer}, {"total", memory.total()}};
  return json;
}

void print_account(const models::Config& config, const skills::Taxonomy& taxonomy, const Arguments& a) {
  const Json json = account_json(config, taxonomy, a);
  if (a.json) {
    std::cout << json.dump(2) << "\n";
    return;
  }
  std::cout << models::account_table(config, account_of(config, taxonomy));
  if (!a.processes) return;
  const auto form = training_form(a);
  const auto bytes = [&](const char* key) { return human_bytes(json["process"][key].get<double>()); };
  std::cout << "each of " << form.processes << " processes (" << form.precision << (form.shard_optimizer ? ", optimizer state divided" : "")
            << (form.expert_parallel > 1 ? str(", experts over ", form.expert_parallel) : "") << "): weights " << bytes("weights")
            << ", gradients " << bytes("gradients") << ", optimizer " << bytes("optimizer") << ", together " << bytes("total")
            << " beside activations\n";
}

// What `info` says of training with adapters: of --lora-rank, else of a recipe's last stage that has them.
struct LoraInfo {
  nn::LoraConfig config;
  std::vector<std::string> trainable;
};

std::optional<LoraInfo> lora_info(const Arguments& a) {
  std::optional<LoraInfo> out;
  const Json merged = merge_configs(a.config.files, a.config.sets);
  const Json stages = merged.value("stages", Json::array());
  for (const Json& stage : stages.is_array() ? stages : Json::array()) {
    if (!stage.is_object() || !stage.contains("lora") || stage["lora"].is_null()) continue;
    out.emplace();
    from_json_config(out->config, stage["lora"], config_sources(a.config.files, a.config.sets));
    for (const Json& pattern : stage.value("trainable", Json::array())) out->trainable.push_back(pattern.get<std::string>());
  }
  if (a.lora_rank > 0 && !out) out.emplace();
  if (a.lora_rank > 0) out->config.rank = a.lora_rank;
  if (!a.lora_targets.empty()) {
    if (!out) throw UsageError("--lora-targets needs --lora-rank, or a recipe with lora");
    out->config.targets = a.lora_targets;
  }
  return out;
}

void print_info(const models::Config& config, const skills::Taxonomy& taxonomy, const Arguments& a) {
  const auto lora = lora_info(a);
  if (!lora) return print_account(config, taxonomy, a);
  const auto adapters = models::account_adapters(config, taxonomy, lora->config, lora->trainable);
  const double wide = adapters.training_bytes(4), narrow = adapters.training_bytes(2);
  if (a.json) {
    Json json = account_json(config, taxonomy, a);
    json["lora"] = {{"rank", lora->config.rank},
                    {"layers", adapters.layers},
                    {"adapter_parameters", adapters.adapters},
                    {"trained_parameters", adapters.trained()},
                    {"training_bytes", {{"float32", wide}, {"bfloat16_base", narrow}}}};
    std::cout << json.dump(2) << "\n";
    return;
  }
  print_account(config, taxonomy, a);
  std::cout << "adapters of rank " << lora->config.rank << " on " << adapters.layers << " layers: "
            << human_count(static_cast<double>(adapters.adapters)) << " parameters, " << human_count(static_cast<double>(adapters.trained()))
            << " trained in all; AdamW training state with weights: " << human_bytes(wide) << ", " << human_bytes(narrow)
            << " beside a frozen model in bfloat16\n";
}

void save_imported(const Arguments& a, const models::Imported& imported) {
  models::save_bundle(a.out, imported.bundle, imported.weights, imported.type);
  if (!imported.left_out.empty()) {
    log::info(imported.left_out.size(), " tensors were left out, on which no answer depends; the first is ", imported.left_out.front());
  }
  print_account(imported.bundle.model->config(), imported.bundle.taxonomy, a);
}

void init(const Arguments& a) {
  const InitConfig config = init_config(a);
  if (a.config.dump) {
    std::cout << to_json_config(config).dump(2) << "\n";
    return;
  }
  if (a.out.empty()) throw UsageError("--out is missing: the model directory to write");
  if (a.vision.empty() != a.language.empty()) throw UsageError("--vision and --language go together");
  if (!a.from.empty() + !a.tokenizer.empty() + !a.vision.empty() != 1) {
    throw UsageError("give one of --tokenizer (a new model), --from (a dense model to upcycle), and --vision with --language");
  }
  const auto seed = static_cast<uint64_t>(config.seed);
  if (!a.vision.empty()) {
    if (a.upcycle == "wide") throw UsageError("--upcycle wide needs --from: join the checkpoints first");
    auto joined = models::join_checkpoints(a.vision, a.language, a.chat_template, taxonomy_of(a), seed);
    if (a.upcycle == "sparse") models::upcycle(joined, config.moe, seed);
    save_imported(a, joined);
    return;
  }
  if (!a.from.empty()) {
    auto bundle = models::load_bundle(a.from);
    if (a.upcycle == "none") throw UsageError("--from needs --upcycle sparse or --upcycle wide");
    bundle.model = a.upcycle == "sparse" ? models::upcycle(*bundle.model, config.moe, bundle.taxonomy, {}, seed)
                                         : models::widen(*bundle.model, config.moe, seed);
    models::save_bundle(a.out, bundle);
    print_account(bundle.model->config(), bundle.taxonomy, a);
    return;
  }
  models::Bundle bundle{nullptr, text::Tokenizer::load(a.tokenizer), config.preprocess, taxonomy_of(a)};
  models::Config model = config.model;
  model.language.vocab_size = bundle.tokenizer.vocabulary_size();
  model.image_token_id = bundle.tokenizer.token_to_id("<image>");
  if (model.image_token_id < 0) throw DataError(a.tokenizer + ": the tokenizer has no \"<image>\" token");
  bundle.preprocess.width = model.vision.image_width;
  bundle.preprocess.height = model.vision.image_height;
  bundle.model = models::make_model(model, seed, &bundle.taxonomy);
  models::save_bundle(a.out, bundle);
  print_account(bundle.model->config(), bundle.taxonomy, a);
}

// Of a model directory, or of a config alone (nothing is built, so any size will do).
void info(const Arguments& a) {
  if (!a.model.empty()) {
    const Json given = merge_configs(a.config.files, a.config.sets);
    if (given.contains("model") || given.contains("moe")) {
      log::warn(a.model, ": its own config.json counts; model and moe of --config and --set do not");
    }
    const models::Config config = models::load_header(a.model).config;
    print_info(config, skills::Taxonomy::load(fs::path(a.model) / "skills.json"), a);
    return;
  }
  if (a.config.files.empty() && a.config.sets.empty()) throw UsageError("give a model directory, or --config");
  InitConfig config = init_config(a);
  if (a.upcycle == "sparse") config.model = models::upcycled(config.model, config.moe);
  print_info(config.model, taxonomy_of(a), a);
}

void merge(const Arguments& a) {
  auto bundle = models::load_bundle(a.model);
  const auto adapters = models::read_adapter(a.adapter, *bundle.model);
  nn::attach_lora(*bundle.model, adapters);
  nn::merge_lora(*bundle.model);
  models::save_bundle(a.out, bundle);
  log::info("merged the adapters of ", adapters.size(), " layers; the model is in ", a.out);
}

void import(const Arguments& a) {
  save_imported(a, models::import_model(a.from, a.vision, a.chat_template, taxonomy_of(a)));
}

void hash(const Arguments& a) {
  io::TensorMap tensors;
  const auto file = io::StateDict::open(a.model);
  for (const auto& name : file.names()) tensors[name] = file.get(name);
  std::cout << io::hash_tensors(tensors) << "\n";
}

// Nothing on stdout and exit code 0 when all tensors are equal; a line a difference and exit code 1 else.
void diff(const Arguments& a) {
  const auto first = io::StateDict::open(a.model), second = io::StateDict::open(a.other);
  const auto found = io::compare_weights(first, second);
  for (const auto& d : found) {
    std::cout << d.name << "\t" << d.kind;
    if (!d.a.empty()) std::cout << "\t" << d.a << " -> " << d.b;
    if (d.changed > 0) std::cout << "\t" << d.changed << " of " << d.elements << " elements, by " << d.largest << " at most";
    std::cout << "\n";
  }
  if (!found.empty()) throw Error(str(found.size(), " of ", first.names().size(), " tensors differ"));
}

void tokenize(const Arguments& a) {
  const auto tokenizer = text::Tokenizer::load(a.model);
  std::string line;
  while (std::getline(std::cin, line)) std::cout << Json(tokenizer.encode(line, true)).dump() << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  return run_program(
      argc, argv,
      {"mose-model", "Makes, imports, exports, upcycles, merges, describes and hashes models.",
       [] { return std::string("LibTorch " TORCH_VERSION); }},
      [&](CLI::App& app) {
        app.require_subcommand(1);
        auto* make = app.add_subcommand("init", "random weights, a tower and a decoder joined, or a dense model upcycled");
        add_config_options(*make, a.config);
        make->add_option("--tokenizer", a.tokenizer, "directory with tokenizer.json, for a new model")->group("Model");
        make->add_option("--taxonomy", a.taxonomy, "skill taxonomy; default: configs/skills/driving.json")->group("Model");
        make->add_option("--vision", a.vision, "CLIP or SigLIP checkpoint, with --language: the projector between them is drawn")->group("Model");
        make->add_option("--language", a.language, "decoder checkpoint (Llama, Mistral, Qwen, Qwen2, StableLM, Phi, Mixtral, Qwen2-MoE)")->group("Model");
        make->add_option("--chat-template", a.chat_template, "of --vision with --language: how a question becomes a prompt")
            ->check(CLI::IsMember(text::chat_template_names()))->capture_default_str()->group("Model");
        make->add_option("--from", a.from, "dense model directory to upcycle")->group("Model");
        make->add_option("--upcycle", a.upcycle, "sparse (config moe) or wide (its dense twin)")
            ->check(CLI::IsMember({"none", "sparse", "wide"}))->group("Model");
        make->add_option("--out", a.out, "model directory to write")->group("Output");
        make->add_flag("--json", a.json, "the account as JSON")->group("Output");
        make->callback([&] { init(a); });

        auto* about = app.add_subcommand("info", "total and activated parameters, memory, FLOPs");
        add_config_options(*about, a.config);
        about->add_option("model", a.model, "model directory; or --config for a model not built yet")->group("Model");
        about->add_option("--taxonomy", a.taxonomy, "skill taxonomy; default: configs/skills/driving.json")->group("Model");
        about->add_option("--upcycle", a.upcycle, "of a config: sparse accounts for the model after upcycling")
            ->check(CLI::IsMember({"none", "sparse"}))->group("Model");
        about->add_option("--lora-rank", a.lora_rank, "also account for training with adapters of this rank; of a recipe: in place of its own")
            ->check(CLI::Range(1, 65536))->group("Adapters");
        about->add_option("--lora-targets", a.lora_targets, "patterns of the layers that get adapters; default: the decoder's")->group("Adapters");
        about->add_option("--processes", a.processes, "also what each of so many processes keeps in training, by a recipe's precision, shard_optimizer and expert_parallel")
            ->check(CLI::Range(1, 1 << 20))->group("Training");
        about->add_flag("--json", a.json, "as JSON")->group("Output");
        about->callback([&] { info(a); });

        auto* blend = app.add_subcommand("merge", "adapters (of mose-train or PEFT) added to the weights of their base");
        blend->add_option("--model", a.model, "model directory")->required();
        blend->add_option("--adapter", a.adapter, "folder with adapter_config.json and adapter_model.safetensors")->required();
        blend->add_option("--out", a.out, "model directory to write")->required();
        blend->callback([&] { merge(a); });

        auto* bring = app.add_subcommand("import", "a LLaVA, LLaVA-NeXT or MoE-LLaVA checkpoint as a model directory, tensor by tensor");
        bring->add_option("--from", a.from, "directory with config.json, safetensors or pytorch_model.bin, tokenizer and preprocessor")->required();
        bring->add_option("--vision", a.vision, "the tower's checkpoint, where LLaVA's own layout names one and does not hold it");
        bring->add_option("--chat-template", a.chat_template, "how a question becomes a prompt; default: vicuna")
            ->check(CLI::IsMember(text::chat_template_names()));
        bring->add_option("--taxonomy", a.taxonomy, "skill taxonomy; default: configs/skills/driving.json");
        bring->add_option("--out", a.out, "model directory to write")->required();
        bring->add_flag("--json", a.json, "the account as JSON");
        bring->callback([&] { import(a); });

        auto* give = app.add_subcommand("export", "a model directory as a checkpoint that other programs open");
        give->add_option("model", a.model, "model directory")->required();
        give->add_option("--format", a.format, "hf: LLaVA, or LLaVA-NeXT where there are tiles, as transformers writes it; sparse decoders as Qwen2-MoE")
            ->check(CLI::IsMember({"hf"}))->capture_default_str();
        give->add_option("--out", a.out, "new or empty folder to write")->required();
        give->callback([&] { models::export_hugging_face(a.model, a.out); });

        auto* sum = app.add_subcommand("hash", "one hash of the weights' names, types, shapes and bytes");
        sum->add_option("model", a.model, "model directory, or a file of safetensors or of torch.save")->required();
        sum->callback([&] { hash(a); });

        auto* differences = app.add_subcommand("diff", "what differs between two models' weights; exit code 1 when anything does");
        differences->add_option("a", a.model, "model directory, or a file of safetensors or of torch.save")->required();
        differences->add_option("b", a.other, "another")->required();
        differences->callback([&] { diff(a); });

        auto* ids = app.add_subcommand("tokenize", "lines on stdin to JSON arrays of ids");
        ids->add_option("--model", a.model, "directory with a tokenizer")->required();
        ids->callback([&] { tokenize(a); });
      });
}
