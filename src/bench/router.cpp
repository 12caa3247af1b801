// Router pretraining from cached activations against the plain form, which runs the frozen model in every step. Right after
// upcycling both learn the same from the same rows.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/session.h"
#include "bench/training.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/optim/clip.h"
#include "mose/train/router_cache.h"

namespace mose::bench {
namespace {

using torch::Tensor;

constexpr int64_t kLayers = 4, kSamples = 4, kLength = 128, kRepetitions = 3;
constexpr int64_t kSteps = 20;  // over the same rows: the shipped recipes meet a cached row as often
constexpr double kRate = 0.01;

// Shape r right after upcycling: every layer's experts are equal.
std::shared_ptr<models::VisionLanguageModel> make_upcycled(const skills::Taxonomy& taxonomy) {
  models::Config config = make_shape_r(torch::kFloat32, kLayers).model->config();
  config.language.moe->router = "hierarchical_skill";
  const auto model = models::make_model(config, 4, &taxonomy);
  const torch::NoGradGuard no_grad;
  for (const auto& item : model->named_parameters()) {
    item.value().requires_grad_(item.key().find(".mlp.gate.") != std::string::npos);
    if (item.key().find(".experts.") != std::string::npos) item.value().copy_(item.value()[0].clone().expand_as(item.value()));
  }
  return model;
}

// Every fourth row has a skill, drawn, and its stage.
data::Batch make_labelled(const models::VisionLanguageModel& model) {
  data::Batch batch = make_batch(std::vector<int64_t>(kSamples, kLength), model.config().language.vocab_size);
  const auto& map = model.skill_map();
  const int64_t rows = kSamples * kLength, skills = map.assignment_SE.size(0);
  RandomStream random(8, "bench/router");
  Tensor skill = torch::zeros({rows}, torch::kInt64), weight = torch::zeros({rows});
  for (int64_t t = 0; t < rows; t += 4) {
    skill[t] = random.integer(0, skills - 1);
    weight[t] = 1;
  }
  auto& labels = batch.labels;
  labels.skill_TS = at::one_hot(skill, skills).to(torch::kFloat32) * weight.unsqueeze(1);
  labels.stage_TG = at::one_hot(map.skill_stage_S.index_select(0, skill), map.stages).to(torch::kFloat32) * weight.unsqueeze(1);
  labels.skill_weight_T = labels.stage_weight_T = weight;
  return batch;
}

// A model whose routers learn, by either form.
class RouterTraining {
 public:
  RouterTraining(const skills::Taxonomy& taxonomy, bool cached)
      : cached_(cached), model_(make_upcycled(taxonomy)), batch_(make_labelled(*model_)), optimizer_(routers(), {}) {
    weights_.lm = 0;
    weights_.skill = weights_.stage = 1;
    whole_ = train::normalisers(batch_, weights_);
  }

  // kSteps steps, and for the cached form what fills the cache.
  double run() {
    return wall_seconds([&] {
      train::RouterCache cache;
      if (cached_) cache = train::router_inputs(*model_, batch_);
      const Tensor rows = cached_ ? torch::arange(cache.rows()) : Tensor();
      for (int64_t i = 0; i < kSteps; ++i) {
        const Tensor loss = cached_ ? train::cached_router_loss(*model_, cache, rows, weights_).loss
                                    : train::batch_loss(*model_, batch_, weights_, whole_).loss;
        loss.backward();
        optim::clip_gradients(optimizer_.parameters(), kClip);
        optimizer_.step(kRate);
        optimizer_.zero_grad();
        losses.push_back(loss.item<double>());
      }
    });
  }

  std::vector<double> losses;

 private:
  std::vector<optim::NamedParameter> routers() const {
    std::vector<optim::NamedParameter> list;
    for (const auto& item : model_->named_parameters()) {
      if (item.value().requires_grad()) list.push_back({item.key(), item.value()});
    }
    return list;
  }

  bool cached_;
  std::shared_ptr<models::VisionLanguageModel> model_;
  data::Batch batch_;
  optim::AdamW optimizer_;
  train::StepWeights weights_;
  train::Normalisers whole_;
};

}  // namespace

void bench_router(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  RouterTraining cached(taxonomy, true), plain(taxonomy, false);
  cached.run();
  plain.run();
  for (size_t i = 0; i < plain.losses.size(); ++i) {
    if (!(std::abs(cached.losses[i] - plain.losses[i]) <= 1e-3 * plain.losses[i])) {
      throw Error(str("the loss of step ", i, " is ", cached.losses[i], " from cached activations, ", plain.losses[i], " by the plain form"));
    }
  }
  if (!(plain.losses.back() < 0.9 * plain.losses.front())) throw Error(str("the loss stays at ", plain.losses.back()));
  Comparison c;
  c.name = "router pretraining, cached";
  c.shape = str("shape r with ", kLayers, " layers, float32; ", kSteps, " steps over ", kSamples, " x ", kLength, " tokens, a quarter labelled");
  c.repetitions = kRepetitions;
  c.ours = [&] { return cached.run(); };
  c.sides = {{"ours, plain", [&] { return plain.run(); }}};
  c.finish = [&](Row& row) { row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"loss", std::round(1e4 * cached.losses[kSteps - 1]) / 1e4}}; };
  session.compare(c);
}

}  // namespace mose::bench
