// Greedy decoding of one sequence at shape r against transformers' generate, and against llama.cpp built for this CPU, in
// float32, and in bfloat16 where the CPU multiplies it. generate's batched_mm form takes three times as long as the others, so
// it is left out. Then weights in 8 bits against our float32 and llama.cpp's 8 bits.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/session.h"
#include "bench/shape_r.h"
#include "mose/bench/allocations.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"
#include "mose/infer/generator.h"
#include "mose/nn/int8.h"

namespace mose::bench {
namespace {

constexpr int64_t kPrompt = 64, kNew = 64;
// By how much of the largest logit a token chosen in bfloat16 may be behind float64's best: 8 of the type's units. Where two
// experts are all but equally probable, rounding sends a row to the other one, so a few tokens may be further behind.
constexpr double kBehind = 8.0 / 256;
constexpr int64_t kFurther = kNew / 8;
constexpr double kBehindInt8 = 0.1;  // with weights rounded to 8 bits

// What one new token must read: every matrix once, of the experts the chosen ones.
double bytes_a_token(const ShapeR& shape) {
  double bytes = 0;
  for (const auto& [name, tensor] : shape.parameters) {
    bytes += static_cast<double>(tensor.nbytes()) * share_a_token(name);
  }
  return bytes;
}

infer::Prompt make_prompt(const ShapeR& shape) {
  infer::Prompt prompt;
  RandomStream random(6, "bench/decode");
  for (int64_t i = 0; i < kPrompt; ++i) prompt.tokens.push_back(random.integer(0, shape.model->config().language.vocab_size - 1));
  return prompt;
}

// What the steps of decoding ask of the allocator: a longer answer's tensors less a shorter one's.
double allocated_a_token(const ShapeR& shape, const infer::Prompt& prompt) {
  const auto of = [&](int64_t tokens) {
    infer::GenerateOptions options;
    options.sampling.max_new_tokens = tokens;
    return tensors_allocated([&] { infer::generate(*shape.model, {prompt}, options); });
  };
  constexpr int64_t kShort = kNew / 4;
  return static_cast<double>(of(kNew) - of(kShort)) / (kNew - kShort);
}

// What every row of decoding tells: how near to reading `bytes` a token it is, and how many tokens a second.
void describe(Session& session, Row& row, double bytes) {
  row.limit_share = 1000 * kNew * bytes / session.limits().read_bytes_per_second / row.ours_ms;
  row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"limit", "reading the weights of every token at the measured bandwidth"},
              {"tokens_per_second", std::round(1e4 * kNew / row.ours_ms) / 10},
              {"peer_tokens_per_second", std::round(1e4 * kNew / row.peer_ms) / 10}};
}

void decode_in(Session& session, torch::Dtype type, const std::vector<std::string>& forms) {
  const ScratchFolder folder;
  const ShapeR shape = make_shape_r(type);
  const infer::Prompt prompt = make_prompt(shape);
  infer::GenerateOptions options;
  options.sampling.max_new_tokens = kNew;
  const auto expected = infer::generate(*shape.model, {prompt}, options)[0].tokens;

  write_weights(shape, folder.path());
  const Json arguments = {{"prompt", prompt.tokens}, {"new_tokens", kNew}};
  std::vector<std::unique_ptr<Peer>> peers;
  Comparison c;
  c.repetitions = kSlowRepetitions;
  c.name = str("greedy decoding, one sequence, ", type_name(type));
  c.shape = str(shape.about(), "; ", kNew, " tokens after ", kPrompt);
  c.ours = [&] { return wall_seconds([&] { infer::generate(*shape.model, {prompt}, options); }); };
  for (const std::string& experts : forms) {
    const std::string name = str("transformers generate, ", experts);
    session.attempt(c.name, name, [&] {
      auto peer = session.start_peer("model", session.threads());
      peer->call("build", peer_model(shape, folder.path(), experts, session.threads()));
      const std::vector<int64_t> theirs = peer->call("generate", arguments).at("tokens");
      if (type == torch::kFloat32 && theirs != expected) {
        throw Error(str("it generates other tokens: ", Json(theirs).dump(), ", ours are ", Json(expected).dump()));
      }
      if (type != torch::kFloat32) {
        for (const auto& answer : {expected, theirs}) {
          const int64_t tokens = peer->call("behind", {{"prompt", prompt.tokens}, {"answer", answer}, {"share", kBehind}}).at("tokens");
          if (tokens > kFurther) {
            throw Error(str(tokens, " of the tokens that ", answer == expected ? "ours" : "it", " chooses are far from float64's best"));
          }
        }
      }
      Peer& ready = *peers.emplace_back(std::move(peer));
      c.sides.push_back({name, [&ready, &arguments] { return ready.seconds("generate", arguments); }});
    });
  }
  if (c.sides.empty()) return;
  session.limits();
  const double allocated = std::round(10 * allocated_a_token(shape, prompt)) / 10;
  c.finish = [&](Row& row) {
    describe(session, row, bytes_a_token(shape));
    row.more["tensors_allocated_a_token"] = allocated;
  };
  session.compare(c);
}

// The logits of the rows that choose the answer's tokens.
torch::Tensor answer_logits(const ShapeR& shape, const infer::Prompt& prompt, const std::vector<int64_t>& answer) {
  const torch::NoGradGuard no_grad;
  std::vector<int64_t> tokens = prompt.tokens;
  tokens.insert(tokens.end(), answer.begin(), answer.end() - 1);
  const auto rows = static_cast<int64_t>(tokens.size());
  const auto hidden = shape.model->forward(torch::tensor(tokens, torch::kInt64), nn::make_plan({rows}), {}).hidden_TD;
  return shape.model->logits(hidden.narrow(0, kPrompt - 1, kNew));
}

// The same of weights in 8 bits: the head is a packed copy of the embedding, of which decoding reads single rows.
double int8_bytes_a_token(const ShapeR& exact, const ShapeR& packed) {
  double bytes = bytes_a_token(packed);
  for (const auto& [name, tensor] : exact.parameters) {
    if (name == "model.embed_tokens.weight") bytes += static_cast<double>(nn::pack_int8(tensor).nbytes()) - static_cast<double>(tensor.nbytes());
  }
  return bytes;
}

// llama.cpp has no decoder whose layers are dense and sparse by turns, so this model's last four are the sparse ones.
void decode_llama_cpp(Session& session, torch::Dtype type, bool int8) {
  const std::string name = str("greedy decoding, one sequence, ", int8 ? "weights in 8 bits" : type_name(type)),
                    engine = str("llama.cpp", int8 ? " Q8_0" : "", ", built for this CPU");
  session.attempt(name, engine, [&] {
    if (type == torch::kBFloat16) require_bfloat16();
    const ScratchFolder folder;
    const ShapeR shape = make_shape_r_sparse_last(type);
    write_weights(shape, folder.path());
    const std::string about = shape.about();
    double bytes = bytes_a_token(shape);
    if (int8) {
      shape.model->use_int8_weights();
      bytes = int8_bytes_a_token(make_shape_r_sparse_last(type), shape);
    }
    const infer::Prompt prompt = make_prompt(shape);
    infer::GenerateOptions options;
    options.sampling.max_new_tokens = kNew;
    const auto expected = infer::generate(*shape.model, {prompt}, options)[0].tokens;
    const auto peer = session.start_peer("llama_cpp_peer", session.threads());
    Json settings = llama_cpp_model(shape, folder.path(), session.threads());
    settings["int8"] = int8;
    peer->call("build", settings);
    const Json arguments = {{"prompt", prompt.tokens}, {"new_tokens", kNew}};
    const std::vector<int64_t> theirs = peer->call("generate", arguments).at("tokens");
    // The reference is the same rounded weights in float64 (of a model of its own: conversion and back would take ours out of its
    // large pages). In float32 the two add up in other orders, so that one router's near tie can part their answers.
    const ShapeR exact = make_shape_r_sparse_last(type);
    exact.model->to(torch::kFloat64);
    const double behind = int8 ? kBehindInt8 : type == torch::kFloat32 ? 1e-4 : kBehind;
    std::vector<int64_t> others;  // ours, theirs: choices that are not float64's best
    for (const auto& answer : {expected, theirs}) {
      const torch::Tensor logits = answer_logits(exact, prompt, answer), best = logits.amax(1), size = logits.abs().amax(1);
      const torch::Tensor chosen = logits.gather(1, torch::tensor(answer, torch::kInt64).unsqueeze(1)).squeeze(1);
      const int64_t tokens = (best - chosen > behind * size).sum().item<int64_t>();
      if (tokens > kFurther) {
        throw Error(str(tokens, " of the tokens that ", answer == expected ? "ours" : "it", " chooses are far from float64's best"));
      }
      others.push_back((best > chosen).sum().item<int64_t>());
    }
    Comparison c;
    c.name = name;
    c.shape = str(about, int8 ? " in 8 bits a weight" : "", ", its last four layers sparse; ", kNew, " tokens after ", kPrompt);
    c.ours = [&] { return wall_seconds([&] { infer::generate(*shape.model, {prompt}, options); }); };
    c.sides.push_back({engine, [&] { return peer->seconds("generate", arguments); }});
    session.limits();
    c.finish = [&](Row& row) {
      describe(session, row, bytes);
      row.more.update({{"choices_not_the_best", others[0]}, {"peer_choices_not_the_best", others[1]}});
    };
    session.compare(c);
  });
}

void decode_int8(Session& session) {
  // Of the logits' norm. Drawn routers are all but undecided about many rows and send some to other experts, as no trained model does.
  constexpr double kAllowed = 0.2;
  const ShapeR exact = make_shape_r(), packed = make_shape_r();
  packed.model->use_int8_weights();
  const infer::Prompt prompt = make_prompt(exact);
  infer::GenerateOptions options;
  options.sampling.max_new_tokens = kNew;
  const auto answer = infer::generate(*exact.model, {prompt}, options)[0].tokens;
  const auto wanted = answer_logits(exact, prompt, answer), found = answer_logits(packed, prompt, answer);
  const double error = ((found - wanted).norm() / wanted.norm()).item<double>();
  if (!(error < kAllowed)) throw Error(str("8-bit weights move the logits by ", error, " of their norm, expected less than ", kAllowed));
  const auto same = (found.argmax(1) == wanted.argmax(1)).sum().item<int64_t>();
  Comparison c;
  c.name = "greedy decoding, one sequence, weights in 8 bits";
  c.shape = str(exact.about(), " in 8 bits a weight; ", kNew, " tokens after ", kPrompt);
  c.ours = [&] { return wall_seconds([&] { infer::generate(*packed.model, {prompt}, options); }); };
  c.sides = {{"ours, float32", [&] { return wall_seconds([&] { infer::generate(*exact.model, {prompt}, options); }); }}};
  session.limits();
  c.finish = [&](Row& row) {
    describe(session, row, int8_bytes_a_token(exact, packed));
    row.more.update({{"tensors_allocated_a_token", std::round(10 * allocated_a_token(packed, prompt)) / 10},
                     {"logits_moved_by", std::round(1e5 * error) / 1e5}, {"same_choices", str(same, " of ", kNew)}});
  };
  session.compare(c);
}

}  // namespace

void bench_decode(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  decode_in(session, torch::kFloat32, {"eager", "grouped_mm"});
  session.attempt("greedy decoding, one sequence, bfloat16", "transformers generate", [&] {
    require_bfloat16();
    decode_in(session, torch::kBFloat16, {"eager"});
  });
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) decode_llama_cpp(session, type, false);
  session.attempt("greedy decoding, one sequence, weights in 8 bits", "ours, float32", [&] { decode_int8(session); });
  decode_llama_cpp(session, torch::kFloat32, true);
}

}  // namespace mose::bench
