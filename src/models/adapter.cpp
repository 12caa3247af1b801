#include "mose/models/adapter.h"

#include <cmath>
#include <cstdlib>
#include <regex>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/patterns.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/nn/init.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

const std::string kPrefix = "base_model.model.", kWrapped = ".base_layer";
constexpr const char *kConfig = "adapter_config.json", *kWeights = "adapter_model.safetensors";

std::string parent_of(const std::string& name) { return name.substr(0, name.rfind('.')); }

// One of the parameters that stacked experts hold themselves: gate_up_proj, down_proj.
bool in_experts(const nn::LoraPlace& place) {
  return place.weight.dim() == 3 && place.name.ends_with("_proj");
}

// The name of the module that PEFT wraps. Phi's output projection is called dense there.
std::string peft_module(const nn::LoraPlace& place, const nn::Adapters& adapters, bool phi) {
  if (in_experts(place)) {
    const std::string experts = parent_of(place.name);
    const bool inner = place.name.ends_with(".gate_up_proj") && adapters.count(experts + ".down_proj");
    return experts + (inner ? kWrapped : "");
  }
  return phi ? replace_all(place.name, ".self_attn.o_proj", ".self_attn.dense") : place.name;
}

int64_t experts_of(const nn::LoraPlace& place) { return place.weight.dim() == 3 ? place.weight.size(0) : 1; }

bool fits(const nn::LoraPlace& place, const Tensor& a, const Tensor& b) {
  return a.dim() == 2 && b.dim() == 2 && a.size(1) == place.weight.size(-1) && b.size(0) == place.weight.size(-2) &&
         a.size(0) == b.size(1) && a.size(0) > 0 && a.size(0) % experts_of(place) == 0;
}

// A block of the tower behind the one whose states the model takes (import.h): it changes no answer.
bool behind_features(const std::string& module, const vision::Config& tower) {
  const std::string blocks = "model.vision_tower.encoder.layers.";
  return module.starts_with(blocks) && std::strtoll(module.c_str() + blocks.size(), nullptr, 10) >= tower.layers;
}

// PEFT also writes the base's own weight where the head has an adapter. Another one than this model's is refused.
bool copies_base(const std::string& key, const Tensor& value, const VisionLanguageModel& model, const std::string& where) {
  const auto parameters = model.named_parameters();
  const Tensor* own = parameters.find(replace_all(key.substr(kPrefix.size()), kWrapped, ""));
  if (!own) return false;
  if (own->sizes() == value.sizes() && torch::equal(own->detach().to(value.scalar_type()).cpu(), value)) return true;
  throw DataError(str(where, ": tensor \"", key, "\" is another than this model's: expected the adapter's own base"));
}

// Of the parameters of stacked experts only the shapes say which one a module wraps.
const nn::LoraPlace& find_place(const std::vector<nn::LoraPlace>& places, const std::string& module, const Tensor& a,
                                const Tensor& b, const std::string& where) {
  std::string name = replace_all(module, ".self_attn.dense", ".self_attn.o_proj");
  if (name.starts_with("model.layers.")) name = "model.language_model." + name.substr(6);
  const nn::LoraPlace* near = nullptr;
  for (const auto& place : places) {
    const bool stacked = place.weight.dim() == 3 && parent_of(place.name) == name.substr(0, name.find(kWrapped));
    if (place.name != name && !stacked) continue;
    if (fits(place, a, b)) return place;
    near = &place;
  }
  if (!near) throw DataError(str(where, ": \"", module, "\" is no linear layer of this model"));
  throw DataError(mose::str(where, ": \"", module, "\": A ", a.sizes(), " and B ", b.sizes(), " do not fit ", near->name, " ",
                            near->weight.sizes()));
}

// What PEFT's config says of how much an adapter counts.
class Scaling {
 public:
  Scaling(const fs::path& dir) : where_((dir / kConfig).string()), config_(load_json(dir / kConfig)) {
    const std::string type = json_string(config_, "peft_type", where_);
    if (type != "LORA") throw DataError(str(where_, ": \"peft_type\": expected \"LORA\", found \"", type, "\""));
    for (const char* key : {"use_dora", "lora_bias", "fan_in_fan_out", "layer_replication", "modules_to_save", "trainable_token_indices",
                            "use_qalora", "use_bdlora", "kasa_config", "velora_config", "monteclora_config", "alora_invocation_tokens"}) {
      const Json value = config_.value(key, Json());
      if (!value.is_null() && value != false) throw DataError(str(where_, ": \"", key, "\": no plain LoRA, which is all that can be merged here"));
    }
    if (config_.contains("bias") && config_["bias"] != "none") throw DataError(str(where_, ": \"bias\": expected \"none\", found ", config_["bias"].dump()));
    alpha_ = json_number(config_, "lora_alpha", where_);
    stabilised_ = config_.value("use_rslora", Json(false)) == true;
  }

  double of(const std::string& layer, int64_t rank) const {
    double alpha = alpha_;
    const auto patterns = config_.find("alpha_pattern");
    if (patterns != config_.end() && !patterns->is_null()) {
      for (const auto& [pattern, value] : json_object(config_, "alpha_pattern", where_).items()) {
        if (fits(layer, pattern)) {
          alpha = json_number(*patterns, pattern, where_);
          break;
        }
      }
    }
    const auto r = static_cast<double>(rank);
    return alpha / (stabilised_ ? std::sqrt(r) : r);
  }

 private:
  // As PEFT: a regular expression for the end of the name, whole parts of it.
  bool fits(const std::string& layer, const std::string& pattern) const {
    try {
      return std::regex_match(layer, std::regex("(.*\\.)?(" + pattern + ")"));
    } catch (const std::regex_error& e) {
      throw DataError(str(where_, ": \"alpha_pattern\": \"", pattern, "\": ", e.what()));
    }
  }

  std::string where_;
  Json config_;
  double alpha_ = 1;
  bool stabilised_ = false;
};

}  // namespace

void save_adapter(const fs::path& folder, const VisionLanguageModel& model, const nn::Adapters& adapters,
                  const nn::LoraConfig& config, const fs::path& base) {
  const bool phi = model.config().language.ffn == "gelu";
  io::TensorMap weights;
  Json modules = Json::array(), parameters = Json::array();
  for (const auto& place : nn::lora_places(const_cast<VisionLanguageModel&>(model))) {
    const auto found = adapters.find(place.name);
    if (found == adapters.end()) continue;
    const Tensor a = found->second->A.detach(), b = found->second->B.detach();
    const std::string module = peft_module(place, adapters, phi), key = kPrefix + module;
    const bool stacked = place.weight.dim() == 3;
    weights[key + ".lora_A.weight"] = stacked ? a.flatten(0, 1) : a;
    weights[key + ".lora_B.weight"] = stacked ? b.permute({1, 2, 0}).flatten(1) : b;
    if (!stacked) modules.push_back(module);
    else parameters.push_back(in_experts(place) ? place.name : place.name + ".weight");
  }
  Json json{{"peft_type", "LORA"},
            {"base_model_name_or_path", base.string()},
            {"r", config.rank},
            {"lora_alpha", config.alpha},
            // Over experts PEFT knows no dropout; a trained adapter does not depend on it.
            {"lora_dropout", parameters.empty() ? config.dropout : 0.0},
            {"use_rslora", config.rank_stabilised},
            {"bias", "none"},
            {"fan_in_fan_out", false},
            {"inference_mode", true},
            {"target_modules", modules},
            {"target_parameters", parameters.empty() ? Json() : parameters}};
  replace_folder(folder_path(folder), [&](const fs::path& beside) {
    save_json(beside / kConfig, json);
    io::save_safetensors(beside / kWeights, weights, {{"format", "pt"}});
  });
}

nn::Adapters read_adapter(const fs::path& dir, VisionLanguageModel& model) {
  const Scaling scaling(dir);
  const std::string where = (dir / kWeights).string();
  const auto file = io::StateDict::open(dir / kWeights);
  const auto places = nn::lora_places(model);
  nn::Adapters out;
  int64_t behind = 0;
  for (const auto& key : file.names()) {
    const bool first = key.ends_with(".lora_A.weight"), known = key.starts_with(kPrefix);
    if (!known || (!first && !key.ends_with(".lora_B.weight"))) {
      if (known && copies_base(key, file.get(key), model, where)) continue;
      throw DataError(str(where, ": tensor \"", key, "\": expected ", kPrefix, "<layer>.lora_A.weight or .lora_B.weight"));
    }
    const std::string head = key.substr(0, key.size() - std::string("A.weight").size());
    const Tensor a = file.get(head + "A.weight"), b = file.get(head + "B.weight");
    if (!first) continue;
    const std::string module = head.substr(kPrefix.size(), head.size() - kPrefix.size() - std::string(".lora_").size());
    if (behind_features(module, model.config().vision)) {
      ++behind;
      continue;
    }
    const auto& place = find_place(places, module, a, b, where);
    const int64_t experts = experts_of(place), rank = a.size(0) / experts;
    auto lora = std::make_shared<nn::Lora>();
    const auto options = place.weight.options().dtype(torch::kFloat32);
    lora->A = a.to(options, false, /*copy=*/true);
    lora->B = b.to(options, false, /*copy=*/true);
    if (place.weight.dim() == 3) {
      lora->A = lora->A.view({experts, rank, -1});
      lora->B = lora->B.view({-1, rank, experts}).permute({2, 0, 1}).contiguous();
    }
    lora->scale = scaling.of(in_experts(place) ? place.name : module, rank);
    if (!out.emplace(place.name, std::move(lora)).second) throw DataError(str(where, ": two adapters for ", place.name));
  }
  if (out.empty()) throw DataError(where + ": holds no adapter");
  if (behind > 0) log::info(where, ": left out ", behind, " adapters of the tower behind the states that the model takes");
  return out;
}

AdapterAccount account_adapters(const Config& config, const skills::Taxonomy& taxonomy, const nn::LoraConfig& lora,
                                const std::vector<std::string>& trainable) {
  const nn::InitGuard meta(nn::Init::kMeta);
  const auto model = make_model(config, 0, &taxonomy);
  AdapterAccount out;
  for (const auto& place : nn::lora_places(*model, lora.targets)) {
    ++out.layers;
    out.adapters += nn::lora_parameters(place, lora.rank);
  }
  for (const auto& item : model->named_parameters()) {
    (chosen(item.key(), trainable) ? out.beside : out.frozen) += item.value().numel();
  }
  return out;
}

}  // namespace mose::models
