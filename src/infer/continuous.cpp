#include "mose/infer/continuous.h"

#include <torch/torch.h>

#include <algorithm>

#include "infer/sampling.h"
#include "infer/step_graph.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"

namespace mose::infer {
namespace {

using torch::Tensor;

constexpr int64_t kCapacityStep = 256;  // room in the cache grows by multiples of this

// Who has a place, or had it last: its keys and values are still there.
struct Seat {
  Request request;
  Tensor images_RD;  // its pictures' rows for the decoder
  RandomStream stream{0, ""};
  Answer answer;
  int64_t next = 0;  // the token that it continues with
  bool runs = false;
};

bool same_pictures(const Prompt& a, const Prompt& b) {
  return std::equal(a.pictures.begin(), a.pictures.end(), b.pictures.begin(), b.pictures.end(),
                    [](const auto& x, const auto& y) { return x.tiles_NCHW.is_same(y.tiles_NCHW); });
}

void record_routing(const std::vector<language::LayerRouting>& routings, const std::vector<Generation*>& out) {
  std::vector<Tensor> experts, skills;
  for (const auto& layer : routings) {
    experts.push_back(layer.routing.experts_TK.select(1, 0).to(torch::kCPU));
    skills.push_back(layer.routing.skill_logits_TS ? layer.routing.skill_logits_TS->argmax(1).to(torch::kCPU) : Tensor());
  }
  for (size_t n = 0; n < out.size(); ++n) {
    TokenRouting token;
    for (size_t i = 0; i < experts.size(); ++i) {
      const auto row = static_cast<int64_t>(n);
      token.top_expert.push_back(experts[i][row].item<int64_t>());
      token.skill.push_back(skills[i].defined() ? skills[i][row].item<int64_t>() : -1);
    }
    out[n]->routing.push_back(std::move(token));
  }
}

class Engine {
 public:
  Engine(models::VisionLanguageModel& model, int64_t places, const GenerateOptions& options, std::function<void(Answer)> done)
      : model_(model), options_(options), done_(std::move(done)), seats_(static_cast<size_t>(places)),
        recorder_(options.graphs && !options.routing ? graph_recorder(model.device()) : nullptr),
        cache_(language::make_cache(model.config().language, places + (recorder_ ? 1 : 0), 0, torch::dtype(model.type()).device(model.device()))),
        graphs_(model, cache_, places, options.sampling, recorder_) {}

  // Seats requests while there are both, and computes their prompts. False when nothing runs then.
  bool admit(const std::function<std::optional<Request>()>& next) {
    for (bool more = true; more;) {
      Arrivals arrivals;
      while (!ended_ && free_place() >= 0) {
        auto request = next();
        ended_ = !request;
        if (request) seat(std::move(*request), arrivals);
      }
      more = !ended_ && !arrivals.whole.empty();  // some may end with their first token
      compute_prompts(arrivals);
    }
    if (ended_) close_gaps();
    return !running().empty();
  }

  // One more token of every sequence that runs.
  void step() {
    const nn::BuffersGuard again(buffers_);
    const auto places = running();
    std::vector<int64_t> tokens;
    std::vector<Generation*> out;
    for (const int64_t place : places) {
      tokens.push_back(at(place).next);
      out.push_back(&at(place).answer.generation);
    }
    if (const auto chosen = graphs_.step(places, tokens, streams_of(places))) {
      count_pass(places.size(), places.size());
      return take(places, *chosen);
    }
    const auto result = forward(places, std::vector<int64_t>(places.size(), 1), tokens, {}, {});
    if (options_.routing) record_routing(result.routings, out);
    continue_with(places, result.hidden_TD);
  }

  const ContinuousReport& report() const { return report_; }

 private:
  struct Copy {
    int64_t place, from, positions;
  };
  // Places by what their prompts wait for: nothing, or that of another arrival.
  struct Arrivals {
    std::vector<int64_t> whole, copied;
    std::vector<Copy> copies;  // of `copied`
  };

  Seat& at(int64_t place) { return seats_[static_cast<size_t>(place)]; }

  std::vector<int64_t> running() const {
    std::vector<int64_t> places;
    for (size_t i = 0; i < seats_.size(); ++i) {
      if (seats_[i].runs) places.push_back(static_cast<int64_t>(i));
    }
    return places;
  }

  int64_t free_place() const {
    for (size_t i = 0; i < seats_.size(); ++i) {
      if (!seats_[i].runs) return static_cast<int64_t>(i);
    }
    return -1;
  }

  // Where most of the request's prompt, all but its last token at most, has been computed.
  Copy find_shared(const Request& request) const {
    Copy best{-1, -1, 0};
    if (request.prompt.pictures.empty()) return best;
    for (size_t i = 0; i < seats_.size(); ++i) {
      const auto &tokens = request.prompt.tokens, &others = seats_[i].request.prompt.tokens;
      if (others.empty() || !same_pictures(request.prompt, seats_[i].request.prompt)) continue;
      const auto end = std::mismatch(tokens.begin(), tokens.end() - 1, others.begin(), others.end()).first - tokens.begin();
      if (best.from < 0 || end > best.positions) best = {-1, static_cast<int64_t>(i), static_cast<int64_t>(end)};
    }
    return best;
  }

  void seat(Request request, Arrivals& arrivals) {
    if (request.prompt.tokens.empty()) throw Error(str("generate: prompt ", request.index, " is empty"));
    const auto contains = [](const std::vector<int64_t>& places, int64_t place) {
      return std::find(places.begin(), places.end(), place) != places.end();
    };
    Copy copy = find_shared(request);
    if (contains(arrivals.copied, copy.from)) {  // as that one does, from where it copies
      for (const Copy& other : arrivals.copies) {
        if (other.place == copy.from) copy = {-1, other.from, std::min(copy.positions, other.positions)};
      }
    }
    const bool waits = contains(arrivals.whole, copy.from);
    copy.place = copy.from >= 0 && !at(copy.from).runs ? copy.from : free_place();
    Seat arrived;
    arrived.runs = true;
    arrived.stream = sampling_stream(options_.sampling, request.index);
    arrived.answer.index = request.index;
    arrived.answer.prompt_tokens = static_cast<int64_t>(request.prompt.tokens.size());
    arrived.answer.shared_tokens = copy.positions;
    if (copy.from >= 0) arrived.images_RD = at(copy.from).images_RD;
    arrived.request = std::move(request);
    at(copy.place) = std::move(arrived);
    if (waits) {
      arrivals.copied.push_back(copy.place);
      arrivals.copies.push_back(copy);
    } else {
      cache_.begin(copy.place, copy.from < 0 ? copy.place : copy.from, copy.positions);
      arrivals.whole.push_back(copy.place);
    }
  }

  void reserve(const std::vector<int64_t>& places) {
    int64_t longest = 0;
    for (const int64_t place : places) {
      const Request& request = at(place).request;
      const int64_t answer = request.forced.empty() ? options_.sampling.max_new_tokens : static_cast<int64_t>(request.forced.size());
      longest = std::max(longest, static_cast<int64_t>(request.prompt.tokens.size()) + answer);
    }
    if (longest <= cache_.capacity()) return;
    cache_.reserve((longest + kCapacityStep - 1) / kCapacityStep * kCapacityStep);
    graphs_.forget();
  }

  void compute_prompts(const Arrivals& arrivals) {
    reserve(arrivals.whole);
    reserve(arrivals.copied);
    encode_pictures(arrivals.whole);
    prefill(arrivals.whole);
    for (const Copy& copy : arrivals.copies) {
      cache_.begin(copy.place, copy.from, copy.positions);
      at(copy.place).images_RD = at(copy.from).images_RD;
    }
    prefill(arrivals.copied);
  }

  // The pictures of all at once that have no rows yet.
  void encode_pictures(const std::vector<int64_t>& places) {
    std::vector<Tensor> tiles;
    std::vector<vision::ImageLayout> layouts;
    std::vector<int64_t> rows, owners;
    for (const int64_t place : places) {
      Seat& seat = at(place);
      const auto& pictures = seat.request.prompt.pictures;
      if (pictures.empty() || seat.images_RD.defined()) continue;
      rows.push_back(0);
      owners.push_back(place);
      for (const auto& picture : pictures) {
        tiles.push_back(picture.tiles_NCHW);
        layouts.push_back(picture.layout);
        rows.back() += picture.layout.rows();
      }
      seat.answer.image_encodings = static_cast<int64_t>(pictures.size());
      report_.image_encodings += seat.answer.image_encodings;
    }
    if (tiles.empty()) return;
    const auto images = model_.encode_images(torch::cat(tiles).to(model_.device()), layouts).rows_RD.split_with_sizes(rows);
    for (size_t i = 0; i < owners.size(); ++i) at(owners[i]).images_RD = images[i];
  }

  // What of these prompts has not been copied, as one packed stream; then their first tokens.
  void prefill(const std::vector<int64_t>& places) {
    if (places.empty()) return;
    const int64_t image_token = model_.config().image_token_id;
    std::vector<int64_t> lengths, tokens;
    std::vector<Tensor> images;
    for (const int64_t place : places) {
      const Seat& seat = at(place);
      const auto& prompt = seat.request.prompt.tokens;
      const auto begin = prompt.begin() + seat.answer.shared_tokens;
      tokens.insert(tokens.end(), begin, prompt.end());
      lengths.push_back(prompt.end() - begin);
      report_.shared_tokens += seat.answer.shared_tokens;
      if (!seat.images_RD.defined()) continue;
      const int64_t copied = std::count(prompt.begin(), begin, image_token);
      if (copied < seat.images_RD.size(0)) images.push_back(seat.images_RD.slice(0, copied));
    }
    std::vector<int64_t> last;
    for (int64_t row = -1; const int64_t length : lengths) last.push_back(row += length);
    continue_with(places, forward(places, lengths, tokens, images, last).hidden_TD);
  }

  // Of all rows, or of those in `asked`.
  language::LayerOutputs forward(const std::vector<int64_t>& places, const std::vector<int64_t>& lengths,
                                 const std::vector<int64_t>& tokens, const std::vector<Tensor>& images, const std::vector<int64_t>& asked) {
    std::vector<int64_t> starts;
    for (const int64_t place : places) starts.push_back(cache_.lengths()[static_cast<size_t>(place)]);
    cache_.run(places);
    language::ForwardOptions forward;
    forward.cache = &cache_;
    count_pass(places.size(), tokens.size());
    const auto device = model_.device();
    if (!asked.empty()) forward.rows_R = torch::tensor(asked, torch::kInt64).to(device);
    return model_.forward(nn::host_indices(tokens).to(device), nn::make_plan(lengths, device, starts),
                          images.empty() ? Tensor() : torch::cat(images), forward);
  }

  void count_pass(size_t sequences, size_t rows) {
    ++report_.forward_passes;
    report_.decoder_passes += static_cast<int64_t>(sequences);
    report_.rows += static_cast<int64_t>(rows);
  }

  std::vector<RandomStream*> streams_of(const std::vector<int64_t>& places) {
    std::vector<RandomStream*> streams;
    for (const int64_t place : places) streams.push_back(&at(place).stream);
    return streams;
  }

  // Adds the token that follows each place's last row.
  void continue_with(const std::vector<int64_t>& places, const Tensor& hidden_ND) {
    take(places, choose_tokens(text_logits(model_, hidden_ND), options_.sampling, streams_of(places)));
  }

  // Adds these tokens; who ends leaves.
  void take(const std::vector<int64_t>& places, const std::vector<int64_t>& tokens) {
    for (size_t n = 0; n < places.size(); ++n) {
      Seat& seat = at(places[n]);
      auto& out = seat.answer.generation;
      const auto& forced = seat.request.forced;
      const int64_t token = forced.empty() ? tokens[n] : forced[out.tokens.size()];
      if (forced.empty() && token == options_.end_token) {
        out.finished = true;
      } else {
        out.tokens.push_back(seat.next = token);
        if (options_.on_token) options_.on_token(seat.answer.index, token);
        out.finished = out.tokens.size() == forced.size();
        if (!out.finished && (!forced.empty() || static_cast<int64_t>(out.tokens.size()) < options_.sampling.max_new_tokens)) continue;
      }
      seat.runs = false;
      ++report_.answers;
      done_(std::move(seat.answer));
    }
  }

  // With nobody to come, the last ones take the free places before them, so that those that run stay side by side.
  void close_gaps() {
    int64_t last = static_cast<int64_t>(seats_.size()) - 1;
    for (int64_t place = 0; place < last; ++place) {
      if (at(place).runs) continue;
      while (last > place && !at(last).runs) --last;
      if (last == place) return;
      cache_.begin(place, last, cache_.lengths()[static_cast<size_t>(last)]);
      at(place) = std::move(at(last));
      at(last).runs = false;
    }
  }

  models::VisionLanguageModel& model_;
  const GenerateOptions& options_;
  const std::function<void(Answer)> done_;
  std::vector<Seat> seats_;
  const Recorder recorder_;  // null where steps are not recorded
  nn::KvCache cache_;        // with a recorder its last place is nobody's
  StepGraphs graphs_;
  nn::Buffers buffers_;      // of steps
  ContinuousReport report_;
  bool ended_ = false;
};

}  // namespace

ContinuousReport answer_all(models::VisionLanguageModel& model, int64_t places, const GenerateOptions& options,
                            const std::function<std::optional<Request>()>& next, const std::function<void(Answer)>& done) {
  if (places < 1) throw Error(str("answer_all: expected at least one place, found ", places));
  const torch::NoGradGuard no_grad;
  Engine engine(model, places, options, done);
  while (engine.admit(next)) engine.step();
  return engine.report();
}

}  // namespace mose::infer
