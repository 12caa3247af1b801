#include "train/parallel.h"

#include "train/whole_model.h"

namespace mose::train {

using torch::Tensor;

StepStart start_step(dist::Communicator& world, const Normalisers& own, int signal) {
  if (world.size() == 1) return {own, signal};
  const Tensor sums = torch::tensor({own.rows, own.samples, own.images, own.words.rows, own.words.images, own.tokens,
                                     own.stage_weight, own.skill_weight}, torch::kFloat64);
  const Tensor stop = torch::tensor({signal}, torch::kInt64);
  auto summed = world.all_reduce(sums);
  auto stopped = world.all_reduce(stop, dist::Reduce::kMax);
  summed.wait();
  stopped.wait();
  const auto* s = sums.const_data_ptr<double>();
  return {{.rows = s[0], .tokens = s[5], .stage_weight = s[6], .skill_weight = s[7], .samples = s[1], .images = s[2],
           .words = {.rows = s[3], .images = s[4]}},
          static_cast<int>(stop.item<int64_t>())};
}

void sum_reports(dist::Communicator& world, LossReport& report, torch::Device device) {
  if (world.size() == 1) return;
  std::vector<Tensor*> losses;
  for (Tensor* t : report.tensors()) losses.push_back(t);
  for (size_t g = 0; g < 3; ++g) {
    losses.push_back(&report.segment_sum[g]);
    losses.push_back(&report.segment_rows[g]);
  }
  std::vector<Tensor> values;
  for (const Tensor* t : losses) values.push_back(t->defined() ? t->to(device, torch::kFloat32) : torch::zeros({}, torch::dtype(torch::kFloat32).device(device)));
  const Tensor all = torch::stack(values);
  const Tensor supervised = torch::tensor({report.supervised}, torch::kFloat64);
  auto summed = world.all_reduce(all);
  world.all_reduce(supervised).wait();
  summed.wait();
  for (size_t i = 0; i < losses.size(); ++i) *losses[i] = all[static_cast<int64_t>(i)];
  report.supervised = supervised.item<double>();
}

void sum_routings(dist::Communicator& world, RoutingSums& routing) {
  if (world.size() == 1 || routing.empty()) return;
  std::vector<Tensor> parts;
  for (const auto& layer : routing) parts.push_back(layer.sums());
  const Tensor all = torch::stack(parts);
  world.all_reduce(all).wait();
  for (size_t i = 0; i < routing.size(); ++i) routing[i].set_sums(all[static_cast<int64_t>(i)]);
}

void share_weights(Session& session) {
  if (session.world->size() == 1) return;
  const torch::NoGradGuard no_grad;
  std::vector<dist::Work> works;
  for (const auto& item : session.bundle.model->named_parameters()) {
    if (!is_divided(session, item.key())) works.push_back(session.world->broadcast(item.value().detach(), 0));
  }
  for (auto& work : works) work.wait();
}

}  // namespace mose::train
