#include "mose/language/llama.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/nn/inference.h"
#include "mose/nn/init.h"
#include "mose/nn/layers.h"
#include "mose/nn/recompute.h"
#include "nn/rows.h"

namespace mose::language {
namespace {

using torch::Tensor;

bool contains(const std::vector<int64_t>& items, int64_t item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

std::shared_ptr<nn::Norm> make_norm(const Config& c) {
  if (c.norm == "layer") return std::make_shared<nn::LayerNorm>(c.hidden_size, c.norm_eps);
  return std::make_shared<nn::RmsNorm>(c.hidden_size, c.norm_eps);
}

class Attention : public torch::nn::Module {
 public:
  Attention(const Config& c, int64_t layer, double out_scale)
      : layer_(layer), heads_(c.heads), kv_heads_(c.kv_heads), width_(c.head_width()),
        window_(contains(c.sliding_layers, layer) ? c.sliding_window : 0) {
    q_proj_ = register_module("q_proj", std::make_shared<nn::Linear>(c.hidden_size, heads_ * width_, c.qkv_bias));
    k_proj_ = register_module("k_proj", std::make_shared<nn::Linear>(c.hidden_size, kv_heads_ * width_, c.qkv_bias));
    v_proj_ = register_module("v_proj", std::make_shared<nn::Linear>(c.hidden_size, kv_heads_ * width_, c.qkv_bias));
    o_proj_ = register_module("o_proj", std::make_shared<nn::Linear>(heads_ * width_, c.hidden_size, c.out_bias, out_scale));
  }

  // The results of `rows_R` (nn::rows_of).
  Tensor forward(const Tensor& x_TD, const nn::SequencePlan& plan, const nn::RotaryTable& rotary, nn::KvCache* cache,
                 const Tensor& rows_R) {
    const int64_t T = x_TD.size(0);
    const auto q = nn::apply_rotary(q_proj_->forward(x_TD).view({T, heads_, width_}), rotary);
    const auto k = nn::apply_rotary(k_proj_->forward(x_TD).view({T, kv_heads_, width_}), rotary);
    const auto v = v_proj_->forward(x_TD).view({T, kv_heads_, width_});
    const auto out = cache ? cache->attend(layer_, q, k, v, plan, window_) : nn::packed_attention(q, k, v, plan, window_);
    return o_proj_->forward(nn::rows_of(out.reshape({T, heads_ * width_}), rows_R));
  }

 private:
  int64_t layer_, heads_, kv_heads_, width_, window_;
  std::shared_ptr<nn::Linear> q_proj_, k_proj_, v_proj_, o_proj_;
};

class Layer : public torch::nn::Module {
 public:
  Layer(const Config& c, int64_t index, bool sparse, const moe::SkillMap* skills) : index_(index) {
    // What is added to the residual stream starts smaller in deep models (GPT-2).
    const double out_scale = 1 / std::sqrt(2.0 * static_cast<double>(c.layers));
    input_layernorm_ = register_module("input_layernorm", make_norm(c));
    self_attn_ = register_module("self_attn", std::make_shared<Attention>(c, index, out_scale));
    if (!c.parallel) post_attention_layernorm_ = register_module("post_attention_layernorm", make_norm(c));
    const bool gelu = c.ffn == "gelu";
    if (sparse) {
      moe::Config moe = *c.moe;
      moe.gate_seed += index;  // every layer's noise is its own
      const auto form = gelu ? moe::ExpertForm::kGelu : moe::ExpertForm::kSwiglu;
      sparse_ = register_module("mlp", std::make_shared<moe::MoeLayer>(moe, c.hidden_size, c.intermediate_size, *skills, form));
      return;
    }
    const int64_t width = c.intermediate_size * (contains(c.wide_layers, index) ? c.ffn_copies : 1);
    if (gelu) gelu_ = register_module("mlp", std::make_shared<nn::GeluMlp>(c.hidden_size, width, nn::Activation::kGeluTanh));
    else swiglu_ = register_module("mlp", std::make_shared<nn::SwiGlu>(c.hidden_size, width, c.ffn_bias));
  }

  // The results of `rows_R` (nn::rows_of); options.rows_R is the whole decoder's.
  Tensor forward(const Tensor& x_TD, const nn::SequencePlan& plan, const nn::RotaryTable& rotary, const Tensor& rows_R,
                 const ForwardOptions& options, std::vector<LayerRouting>& routings) {
    const bool all = sparse_ || options.on_ffn_input;  // a router and the callback see every row
    const Tensor before_R = all ? Tensor() : rows_R, after_R = all ? rows_R : Tensor();
    const auto normed = input_layernorm_->forward(x_TD);
    const auto x = nn::add_to(nn::rows_of(x_TD, before_R), self_attn_->forward(normed, plan, rotary, options.cache, before_R));
    const auto ffn_input = post_attention_layernorm_ ? post_attention_layernorm_->forward(x) : nn::rows_of(normed, before_R);
    if (options.on_ffn_input) options.on_ffn_input(index_, ffn_input);
    return nn::add_to(nn::rows_of(x, after_R), ffn(ffn_input, after_R, options.control, routings));
  }

  const std::shared_ptr<moe::MoeLayer>& sparse() const { return sparse_; }

 private:
  Tensor ffn(const Tensor& x_TD, const Tensor& rows_R, const moe::RouteControl* control, std::vector<LayerRouting>& routings) {
    if (!sparse_) {
      const Tensor x_RD = nn::rows_of(x_TD, rows_R);
      return swiglu_ ? swiglu_->forward(x_RD) : gelu_->forward(x_RD);
    }
    auto [out, routing] = sparse_->forward(x_TD, control, rows_R);
    routings.push_back({index_, std::move(routing)});
    return out;
  }

  int64_t index_;
  std::shared_ptr<nn::Norm> input_layernorm_, post_attention_layernorm_;
  std::shared_ptr<Attention> self_attn_;
  std::shared_ptr<nn::SwiGlu> swiglu_;  // one of these three
  std::shared_ptr<nn::GeluMlp> gelu_;
  std::shared_ptr<moe::MoeLayer> sparse_;
};

// The tensors of a routing that are there, in a fixed order.
std::vector<Tensor*> tensors(moe::Routing& r) {
  std::vector<Tensor*> out{&r.weights_TK, &r.experts_TK, &r.probabilities_TE, &r.logits_TE};
  if (r.stage_logits_TG) out.push_back(&*r.stage_logits_TG);
  if (r.skill_logits_TS) out.push_back(&*r.skill_logits_TS);
  return out;
}

// layer->forward in training, its activations computed again in the backward pass.
Tensor recomputed(const std::shared_ptr<Layer>& layer, const Tensor& x_TD, const nn::SequencePlan& plan,
                  const nn::RotaryTable& rotary, const Tensor& rows_R, const moe::RouteControl* control,
                  std::vector<LayerRouting>& routings) {
  const auto found = std::make_shared<std::vector<LayerRouting>>();  // of the run that was last
  // The backward pass may come when the caller's is gone.
  const auto kept = control ? std::make_shared<const moe::RouteControl>(*control) : nullptr;
  auto out = nn::recompute(*layer, [=](const Tensor& x) {
    ForwardOptions options;
    options.control = kept.get();
    found->clear();
    nn::Tensors all{layer->forward(x, plan, rotary, rows_R, options, *found)};
    for (LayerRouting& r : *found) {
      for (const Tensor* t : tensors(r.routing)) all.push_back(*t);
    }
    return all;
  }, x_TD);
  size_t next = 1;
  for (LayerRouting& r : *found) {
    for (Tensor* t : tensors(r.routing)) *t = out[next++];  // with gradient
    routings.push_back(std::move(r));
  }
  found->clear();
  return out[0];
}

class Llama : public LanguageBackbone {
 public:
  Llama(const Config& config, const moe::SkillMap* skills)
      : frequencies_h_(nn::rotary_frequencies(config.rotary_width(), config.rope_theta, config.rope_scaling)) {
    if (config.moe && !skills) throw Error("make_llama: a sparse decoder needs the skill map");
    const auto places = config.moe ? moe::sparse_layers(*config.moe, config.layers) : std::vector<int64_t>{};
    auto embedding = register_module("embed_tokens", std::make_shared<torch::nn::Module>());
    embedding_ = embedding->register_parameter(
        "weight", nn::normal({config.vocab_size, config.hidden_size}, nn::kInitStd));
    auto list = register_module("layers", std::make_shared<torch::nn::Module>());
    for (int64_t i = 0; i < config.layers; ++i) {
      layers_.push_back(list->register_module(
          std::to_string(i), std::make_shared<Layer>(config, i, contains(places, i), skills)));
    }
    norm_ = register_module("norm", make_norm(config));
  }

  Tensor embed(const Tensor& tokens_T) override {
    if (nn::needs_gradient(embedding_)) return at::embedding(embedding_, tokens_T);
    auto out = nn::empty({tokens_T.size(0), embedding_.size(1)}, embedding_.options());
    return at::index_select_out(out, embedding_, 0, tokens_T);
  }

  LayerOutputs forward(const Tensor& embeddings_TD, const nn::SequencePlan& plan,
                       const ForwardOptions& options) override {
    if (options.recompute && (options.cache || options.on_ffn_input)) {
      throw Error("backbone: recomputation goes with neither a cache nor on_ffn_input");
    }
    frequencies_h_ = frequencies_h_.to(plan.positions_T.device());  // once: a copy makes the host wait
    const auto rotary = nn::rotary_table(plan.positions_T, frequencies_h_);
    LayerOutputs out;
    Tensor x_TD = embeddings_TD;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Tensor rows_R = i + 1 == layers_.size() ? options.rows_R : Tensor();
      if (options.on_layer_input) options.on_layer_input(static_cast<int64_t>(i), x_TD);
      x_TD = options.recompute ? recomputed(layers_[i], x_TD, plan, rotary, rows_R, options.control, out.routings)
                               : layers_[i]->forward(x_TD, plan, rotary, rows_R, options, out.routings);
    }
    if (options.cache) options.cache->advance(plan);
    out.hidden_TD = norm_->forward(x_TD);
    return out;
  }

  const Tensor& embedding_weight() const override { return embedding_; }

  std::vector<std::pair<int64_t, std::shared_ptr<moe::MoeLayer>>> moe_layers() const override {
    std::vector<std::pair<int64_t, std::shared_ptr<moe::MoeLayer>>> out;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i]->sparse()) out.emplace_back(static_cast<int64_t>(i), layers_[i]->sparse());
    }
    return out;
  }

 private:
  Tensor frequencies_h_;  // no buffer: it stays float32 when the model is converted
  Tensor embedding_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::shared_ptr<nn::Norm> norm_;
};

}  // namespace

std::shared_ptr<LanguageBackbone> make_llama(const Config& config, const moe::SkillMap* skills) {
  return std::make_shared<Llama>(config, skills);
}

}  // namespace mose::language
