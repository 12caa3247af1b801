// A sparse FFN: router, stacked experts, dispatch without padding or dropped tokens.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mose/core/config.h"
#include "mose/moe/routing.h"
#include "mose/skills/taxonomy.h"

namespace mose::moe {

struct Config {
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t intermediate = 0;           // width of one expert; 0 = the dense FFN's
  std::string placement = "alternate";  // which decoder layers are sparse
  std::vector<int64_t> layers;        // with placement "listed"
  std::string router = "hierarchical_skill";
  std::string supervise = "skill";    // level the router losses use, or "split": lower layers by stage
  std::string assignment = "auto";    // identity, by_stage, table, auto
  Json table = Json::object();        // with assignment "table": skill name -> list of experts
  int64_t shared_experts = 0;         // experts kept free of any skill (the last ones)

  void visit(FieldVisitor& v);
};

// Indices of the sparse layers among `layers` decoder layers ("alternate": 0, 2, 4, ...; "all",
// "first_half", "second_half", "listed"). UsageError on an index out of range.
std::vector<int64_t> sparse_layers(const Config& config, int64_t layers);

// A_SE, float32, rows sum to 1: which experts serve which skill. `mass` is the labelled token mass
// of each skill, used by "auto" (greedy: the heaviest skill goes to the lightest expert; every
// skill of a stage prefers experts that already serve the stage when loads tie); empty means equal masses.
torch::Tensor make_assignment(const Config& config, const skills::Taxonomy& taxonomy,
                              const std::vector<double>& mass);

// What the layer needs to know of the skills; tensors are moved with the module.
struct SkillMap {
  torch::Tensor assignment_SE;  // float32
  torch::Tensor skill_stage_S;  // int64: the stage of each skill
  int64_t stages = 3;
};
SkillMap make_skill_map(const Config& config, const skills::Taxonomy& taxonomy,
                        const std::vector<double>& mass = {});

class Router : public torch::nn::Module {
 public:
  // x_TD in any floating type; the router computes in float32.
  virtual Routing forward(const torch::Tensor& x_TD) = 0;
};
// "topk", "skill" or "hierarchical_skill"; UsageError names the known ones otherwise. Weights are
// drawn from U(-1/sqrt(D), 1/sqrt(D)) by PyTorch's default generator.
std::shared_ptr<Router> make_router(const Config& config, int64_t width, const SkillMap& map);

class Experts : public torch::nn::Module {
 public:
  // rows_RD sorted by expert; counts_E on the host. SwiGLU: down(silu(gate(x)) * up(x)).
  virtual torch::Tensor forward(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E) = 0;
};

// Parameters, as transformers 5 names them: gate.* (router), experts.gate_up_proj [E, 2F, D],
// experts.down_proj [E, D, F].
class MoeLayer : public torch::nn::Module {
 public:
  MoeLayer(const Config& config, int64_t width, int64_t intermediate, const SkillMap& map);

  // y = sum over the K chosen experts of weight * expert(x).
  std::pair<torch::Tensor, Routing> forward(const torch::Tensor& x_TD);

  Router& router() { return *router_; }
  Experts& experts() { return *experts_; }

 private:
  std::shared_ptr<Router> router_;
  std::shared_ptr<Experts> experts_;
};

}  // namespace mose::moe
