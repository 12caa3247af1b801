// mose-infer: answers for one image or for a dataset.
#include <torch/torch.h>
#include <torch/version.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/memory.h"
#include "mose/core/program.h"
#include "mose/core/strings.h"
#include "mose/data/encode.h"
#include "mose/infer/answer_view.h"
#include "mose/infer/patch_routing.h"
#include "mose/infer/predict.h"
#include "mose/skills/annotator.h"

namespace {

using namespace mose;

struct Arguments {
  std::string model, image, prompt, out, device = "auto", colour = "auto", weights = "stored";
  infer::SamplingConfig sampling;
  infer::PredictOptions predict;
  std::string root, predict_out;
  bool routing = false, chat = false, blind = false;
  int64_t threads = 0, layer = -1;
};

models::Bundle open_model(const Arguments& a) {
  if (a.threads > 0) torch::set_num_threads(static_cast<int>(a.threads));
  auto bundle = models::load_bundle(a.model);
  const bool cuda = at::hasCUDA() && torch::cuda::is_available();
  if (a.device == "cuda" && !cuda) throw UsageError("--device cuda: no CUDA device is available to this build");
  const bool int8 = a.weights == "int8";
  if (a.device == "cuda" && int8) throw UsageError("--weights int8: for the CPU (--device cpu)");
  if (a.device != "cpu" && cuda && !int8) bundle.model->to(torch::kCUDA);
  if (int8) bundle.model->use_int8_weights();
  bundle.model->eval();
  return bundle;
}

data::EncodeConfig encode_config(const models::Bundle& bundle) {
  data::EncodeConfig config;
  config.chat_template = bundle.model->config().chat_template;
  return config;
}

vision::Picture picture_of(const Arguments& a, const models::Bundle& bundle) {
  const auto tiling = bundle.model->config().tiling();
  if (a.blind) return vision::blank_picture(bundle.preprocess, tiling);
  return a.image.empty() ? vision::Picture() : vision::load_picture(a.image, bundle.preprocess, tiling);
}

infer::Prompt prompt_of(const Arguments& a, const models::Bundle& bundle) {
  std::string question = a.prompt;
  if (question.empty()) question = skills::Annotator(bundle.taxonomy).question("single_turn", "scene");
  infer::Prompt prompt;
  const auto picture = picture_of(a, bundle);
  prompt.tokens = data::encode_prompt(question, bundle.tokenizer, encode_config(bundle), picture.layout.rows());
  if (picture.tiles_NCHW.defined()) prompt.pictures = {picture};
  return prompt;
}

void generate(const Arguments& a) {
  auto bundle = open_model(a);
  const auto config = encode_config(bundle);
  const infer::Prompt prompt = prompt_of(a, bundle);
  infer::GenerateOptions options;
  options.sampling = a.sampling;
  options.end_token = data::end_of_turn_id(bundle.tokenizer, config);
  options.routing = a.routing;
  options.graphs = a.predict.graphs;
  const auto answer = infer::generate(*bundle.model, {prompt}, options).front();
  const bool colour = a.colour == "always" || (a.colour == "auto" && isatty(STDOUT_FILENO) == 1);
  std::cout << infer::answer_by_section(bundle.tokenizer.decode(answer.tokens), bundle.taxonomy, colour);
  if (!answer.finished) log::warn("the answer was cut at --max-new-tokens ", a.sampling.max_new_tokens);
  if (a.routing) {
    const int64_t experts = bundle.model->sparse() ? bundle.model->config().language.moe->experts : 0;
    std::cout << infer::routing_view(answer, bundle.tokenizer, bundle.taxonomy, experts, colour);
  }
}

void predict(Arguments& a) {
  a.predict.root = a.root;
  a.predict.out = a.predict_out;
  a.predict.blind = a.blind;
  a.predict.sampling = a.sampling;
  auto bundle = open_model(a);
  const auto report = infer::predict(bundle, a.predict);
  std::cout << report.images << " images and " << report.regions << " regions answered with " << report.generated_tokens
            << " tokens in " << human_seconds(report.seconds);
  if (report.resumed > 0) std::cout << " (" << report.resumed << " of " << report.answers << " answers were there already)";
  std::cout << "; answers in " << a.predict_out << "\n";
}

// The picture, and as JSON what it shows: where each panel is, the expert (and skill) of each patch, row by row.
void routing(const Arguments& a) {
  auto bundle = open_model(a);
  const infer::Prompt prompt = prompt_of(a, bundle);
  auto layers = infer::route_patches(*bundle.model, prompt);
  if (a.layer >= 0) {
    std::vector<std::string> sparse;
    for (const auto& layer : layers) sparse.push_back(std::to_string(layer.layer));
    std::erase_if(layers, [&](const auto& layer) { return layer.layer != a.layer; });
    if (layers.empty()) throw UsageError(str("--layer ", a.layer, " is not sparse; sparse are ", join(sparse, ", ")));
  }
  const auto drawn = infer::draw_routing(bundle, prompt.pictures.front(), layers);
  write_file(a.out, drawn.png);
  Json json{{"image", a.image}, {"picture", a.out}, {"experts", infer::expert_names(*bundle.model, bundle.taxonomy)}, {"layers", Json::array()}};
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto& [layer, across, down, expert, skill] = layers[i];
    const auto& place = drawn.places[i];
    Json line{{"layer", layer}, {"across", across}, {"down", down}, {"expert", expert},
              {"left", place.left}, {"top", place.top}, {"width", place.width}, {"height", place.height}};
    if (skill.front() >= 0) {
      line["skill"] = Json::array();
      for (const int64_t s : skill) line["skill"].push_back(bundle.taxonomy.skills()[static_cast<size_t>(s)].name);
    }
    json["layers"].push_back(std::move(line));
  }
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

// One forward pass over a prompt, for comparing with other implementations.
void logits(const Arguments& a) {
  auto bundle = open_model(a);
  const auto config = encode_config(bundle);
  const auto picture = picture_of(a, bundle);
  const bool has_image = picture.tiles_NCHW.defined();
  std::vector<int64_t> tokens;
  if (a.chat) {
    tokens = data::encode_prompt(a.prompt, bundle.tokenizer, config, picture.layout.rows());
  } else {
    std::string text = a.prompt;
    if (has_image && text.find("<image>") == std::string::npos) text = "<image>\n" + text;
    for (const int64_t id : bundle.tokenizer.encode(text, true)) {
      const bool image = has_image && id == bundle.model->config().image_token_id;
      tokens.insert(tokens.end(), image ? static_cast<size_t>(picture.layout.rows()) : 1, id);
    }
  }
  if (tokens.empty()) throw UsageError("--prompt: the text has no token");
  const torch::NoGradGuard no_grad;
  const auto device = bundle.model->device();
  torch::Tensor images;
  if (has_image) images = bundle.model->encode_images(picture.tiles_NCHW.to(device), {picture.layout}).rows_RD;
  const auto ids = torch::tensor(tokens, torch::kInt64).to(device);
  const auto outputs = bundle.model->forward(ids, nn::make_plan({ids.size(0)}, device), images);
  io::save_safetensors(a.out, {{"input_ids", ids}, {"logits", bundle.model->logits(outputs.hidden_TD).to(torch::kFloat32)}});
  std::cout << "logits of " << ids.size(0) << " tokens in " << a.out << "\n";
}

void add_model_options(CLI::App& app, Arguments& a) {
  app.add_option("--model", a.model, "model directory")->required()->group("Model");
  app.add_option("--device", a.device, "auto, cpu or cuda")->check(CLI::IsMember({"auto", "cpu", "cuda"}))->group("Model");
  app.add_option("--weights", a.weights, "stored: as they are in the files; int8: the decoder's rounded to 8 bits a weight, on the CPU")
      ->check(CLI::IsMember({"stored", "int8"}))->capture_default_str()->group("Model");
  app.add_option("--threads", a.threads, "CPU threads; 0 = all")->check(CLI::Range(0, 1024))->group("Model");
}

void add_sampling_options(CLI::App& app, Arguments& a) {
  app.add_option("--max-new-tokens", a.sampling.max_new_tokens, "longest answer")->check(CLI::Range(1, 1000000))->capture_default_str()->group("Sampling");
  app.add_option("--temperature", a.sampling.temperature, "0 = greedy")->check(CLI::Range(0.0, 100.0))->capture_default_str()->group("Sampling");
  app.add_option("--top-k", a.sampling.top_k, "sample among the k most probable tokens; 0 = all")->check(CLI::Range(0, 10000000))->group("Sampling");
  app.add_option("--top-p", a.sampling.top_p, "sample among the most probable tokens that hold this mass")->check(CLI::Range(0.0, 1.0))->group("Sampling");
  app.add_option("--seed", a.sampling.seed, "seed of sampling")->check(CLI::Range(int64_t{0}, int64_t{9000000000000000}))->group("Sampling");
  app.add_flag("!--no-cuda-graphs", a.predict.graphs, "on a GPU, start every kernel of a step by itself")->group("Model");
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  Arguments a;
  return run_program(
      argc, argv,
      {"mose-infer", "Answers driving questions about one image or a whole dataset.",
       [] { return std::string("LibTorch " TORCH_VERSION); }},
      [&](CLI::App& app) {
        app.require_subcommand(1);
        auto* one = app.add_subcommand("generate", "answer for one image, by section");
        add_model_options(*one, a);
        add_sampling_options(*one, a);
        auto* image = one->add_option("--image", a.image, "image file")->group("Input");
        one->add_flag("--blind", a.blind, "the mean colour instead of an image")->excludes(image)->group("Input");
        one->add_option("--prompt", a.prompt, "question; default: the single-turn question of the model's taxonomy")->group("Input");
        one->add_flag("--routing", a.routing, "show each token's expert in colour, and the skills")->group("Output");
        one->add_option("--color", a.colour, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}))->group("Output");
        one->callback([&] { generate(a); });

        auto* all = app.add_subcommand("predict", "a dataset's three CODA-LM answer files");
        add_model_options(*all, a);
        add_sampling_options(*all, a);
        all->add_option("--coda", a.root, "CODA root")->required()->group("Input");
        all->add_option("--split", a.predict.split, "Train, Val, Test or Mini")->capture_default_str()->group("Input");
        all->add_option("--limit", a.predict.limit, "only the first images; 0 = all")->check(CLI::Range(0, 1000000000))->group("Input");
        all->add_option("--form", a.predict.form, "one answer an image (single_turn) or one a task (multi_turn)")
            ->check(CLI::IsMember({"single_turn", "multi_turn"}))->capture_default_str()->group("Input");
        auto* blind = all->add_flag("--blind", a.blind, "every image replaced by the mean colour: a control")->group("Controls");
        auto* shuffled = all->add_flag("--shuffle-images", a.predict.shuffled, "every question is shown the picture of another scene: a control")
                             ->excludes(blind)->group("Controls");
        all->add_option("--shuffle-seed", a.predict.shuffle_seed, "of the pictures' order")->needs(shuffled)
            ->check(CLI::Range(int64_t{0}, int64_t{9000000000000000}))->capture_default_str()->group("Controls");
        all->add_flag("--oracle-category", a.predict.oracle_category, "region questions name the object's true category; predict.json and reports declare it")->group("Controls");
        all->add_option("--batch", a.predict.batch, "answers generated side by side")->check(CLI::Range(1, 4096))->capture_default_str()->group("Sampling");
        all->add_option("--workers", a.predict.workers, "threads that read and prepare pictures")
            ->check(CLI::Range(1, 256))->capture_default_str()->group("Input");
        all->add_option("--out", a.predict_out, "folder of the answer files; a call that was stopped goes on where it was")->required()->group("Output");
        all->callback([&] { predict(a); });

        auto* view = app.add_subcommand("routing", "a picture of which expert each patch of an image goes to, in every sparse layer");
        add_model_options(*view, a);
        view->add_option("--image", a.image, "image file")->required()->group("Input");
        view->add_option("--layer", a.layer, "this layer of the decoder alone")->check(CLI::Range(0, 100000))->group("Output");
        view->add_option("--out", a.out, "PNG file; the experts of all patches go to stdout as JSON")->required()->group("Output");
        view->callback([&] { routing(a); });

        auto* raw = app.add_subcommand("logits", "input_ids [T] and logits [T, V] of one forward pass");
        add_model_options(*raw, a);
        raw->add_option("--image", a.image, "image file")->group("Input");
        raw->add_option("--prompt", a.prompt, "text")->required()->group("Input");
        raw->add_flag("--chat", a.chat, "apply the model's chat template")->group("Input");
        raw->add_option("--out", a.out, "safetensors file")->required()->group("Output");
        raw->callback([&] { logits(a); });
      });
}
