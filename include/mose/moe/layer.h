// A sparse FFN: router, stacked experts, dispatch without padding or dropped tokens.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mose/core/config.h"
#include "mose/moe/routing.h"
#include "mose/nn/layers.h"
#include "mose/skills/taxonomy.h"

namespace mose::moe {

struct Config {
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t intermediate = 0;           // width of one expert; 0 = the dense FFN's
  std::string placement = "alternate";  // which decoder layers are sparse
  std::vector<int64_t> layers;        // with placement "listed"
  std::string router = "hierarchical_skill";
  std::string supervise = "skill";    // level the router losses use: stage, skill or split (Supervision)
  std::string assignment = "auto";    // identity, by_stage, table, auto
  Json table = Json::object();        // with assignment "table": skill name -> list of experts
  int64_t shared_experts = 0;         // experts kept free of any skill (the last ones)
  bool normalise_top_k = true;        // weights of the chosen experts are divided by their sum
  int64_t shared_ffn = 0;             // width of an FFN beside the experts that every token takes (Qwen2-MoE)
  double capacity_factor = 2;         // router deepspeed095 only, this and the next three
  int64_t min_capacity = 0;
  bool gate_noise = false;
  int64_t gate_seed = 0;

  void visit(FieldVisitor& v);
};

// What visit() cannot see field by field: top_k within experts, shared experts leaving one for the
// skills, stage supervision only where the router has stage logits. UsageError names both fields.
void check_config(const Config& config);

// Indices of the sparse layers among `layers` decoder layers ("alternate": 0, 2, 4, ...; "all",
// "first_half", "second_half", "listed"). UsageError on an index out of range.
std::vector<int64_t> sparse_layers(const Config& config, int64_t layers);

// Which losses teach the router of the `index`-th of `count` sparse layers. supervise "skill": both
// levels everywhere; "stage": the stage alone; "split": the lower half by the stage alone, the upper
// half by both.
struct Supervision {
  bool stage = true, skill = true;
};
Supervision supervision(const Config& config, int64_t index, int64_t count);

// A_SE, float32, rows sum to 1: which experts serve which skill. `mass` is the labelled token mass
// of each skill; empty means equal masses, and a skill without mass counts a thousandth of the mean.
// The last `shared_experts` columns are zero: no skill leads there (see make_router).
//   identity  skill s -> expert s; needs as many skills as experts that are not shared
//   by_stage  experts are dealt to stages by mass (at least one each, in order of stages), and the
//             skills of a stage to the stage's experts as "auto" does
//   table     skill name -> list of experts, equal parts; every skill and every expert must appear
//   auto      greedy: the heaviest skill goes to the lightest expert; when loads tie, to one that
//             already serves the skill's stage. Experts left over share the heaviest skills.
// Experts that share one skill get equal probabilities from a hierarchical router, so prefer at most
// as many experts as skills. UsageError names the field and the skill.
torch::Tensor make_assignment(const Config& config, const skills::Taxonomy& taxonomy,
                              const std::vector<double>& mass);

// What the layer needs to know of the skills. Layers keep a copy that moves with the module; it follows
// from the config and the taxonomy, so it is no part of the saved weights.
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
// UsageError names the known routers otherwise. Weights are drawn from U(-1/sqrt(D), 1/sqrt(D)) by
// PyTorch's default generator; the K largest probabilities (ties: the lower expert) are divided by their sum
// unless normalise_top_k is off.
//   topk                weight [E, D]; p = softmax(W x)
//   skill               the same, and the logits are taught the experts of the token's skills
//   hierarchical_skill  stage.weight [G, D], skill.weight [S, D]: p(s) = p(stage of s) p(s | stage),
//                       p(e) = sum_s p(s) A[s, e]. With shared experts also shared.weight [H, D]:
//                       (q_0, q_1 .. q_H) = softmax(0, W_shared x); shared expert h has p = q_h and
//                       the others q_0 sum_s p(s) A[s, e], so a token is drawn to shared knowledge
//                       by the language loss alone and the skill losses never forbid it.
//   deepspeed095        weight [E, D]; the top-2 gate of DeepSpeed 0.9.5, which MoE-LLaVA's models were trained
//                       with: the second expert is chosen by logits plus Gumbel noise (gate_noise; the same
//                       noise in every call, from gate_seed), and an expert serves at most
//                       max(ceil(2 capacity_factor T / E), min_capacity) of the T rows it is called with:
//                       later ones, second choices last, get weight 0
std::shared_ptr<Router> make_router(const Config& config, int64_t width, const SkillMap& map);
std::vector<std::string> router_names();

// kSwiglu: down(silu(gate(x)) * up(x)); kGelu: fc2(gelu_tanh(fc1(x))) with biases (Phi).
enum class ExpertForm { kSwiglu, kGelu };

class Experts : public torch::nn::Module {
 public:
  // rows_RD sorted by expert; counts_E on the host.
  virtual torch::Tensor forward(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E) = 0;
};
// kSwiglu: gate_up_proj [E, 2F, D] (gate rows first) and down_proj [E, D, F]. kGelu: fc1.weight [E, F, D],
// fc1.bias [E, F], fc2.weight [E, D, F], fc2.bias [E, D]. Weights are drawn from U(+-1/sqrt(fan in)).
std::shared_ptr<Experts> make_experts(int64_t experts, int64_t width, int64_t intermediate,
                                      ExpertForm form = ExpertForm::kSwiglu);

// Computes a layer's experts where they are, when this process holds a part of them alone (mose/dist/expert_parallel.h):
// rows_RD and counts_E as Experts::forward has them, of all experts of the layer; `experts` is this process's part.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;
  virtual torch::Tensor forward(const torch::Tensor& rows_RD, const std::vector<int64_t>& counts_E, Experts& experts) = 0;
};

// Parameters, as transformers 5 names them: gate.* (router), experts.* (above); with shared_ffn also
// shared_expert.{gate,up,down}_proj.weight and shared_expert_gate.weight [1, D].
class MoeLayer : public torch::nn::Module {
 public:
  MoeLayer(const Config& config, int64_t width, int64_t intermediate, const SkillMap& map,
           ExpertForm form = ExpertForm::kSwiglu);

  // With `control`, some choices are made for the router (routing.h).
  // y = sum over the K chosen experts of weight * expert(x), plus sigmoid(shared_expert_gate x) *
  // shared_expert(x) where there is one, in the type of x. Every token is served (but see deepspeed095)
  // and repeated calls are bitwise equal. With `rows_R` (int64) y is of these rows alone; the router sees, and the
  // routing tells of, all of them.
  std::pair<torch::Tensor, Routing> forward(const torch::Tensor& x_TD, const RouteControl* control = nullptr,
                                            const torch::Tensor& rows_R = {});

  Router& router() { return *router_; }
  Experts& experts() { return *experts_; }
  int64_t expert_count() const { return expert_count_; }
  void set_exchange(std::shared_ptr<ExpertExchange> exchange) { exchange_ = std::move(exchange); }

 private:
  int64_t width_, expert_count_;
  std::shared_ptr<Router> router_;
  std::shared_ptr<Experts> experts_;
  std::shared_ptr<ExpertExchange> exchange_;
  std::shared_ptr<nn::SwiGlu> shared_expert_;
  std::shared_ptr<nn::Linear> shared_expert_gate_;
  bool normalise_top_k_;
};

}  // namespace mose::moe
