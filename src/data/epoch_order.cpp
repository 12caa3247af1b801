#include "data/epoch_order.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose::data {
namespace {

// Batches whose samples are sorted by length together; more sorts better and shuffles less.
constexpr int64_t kBucketBatches = 32;

// Every sample floor(weight) times, and of each task a random share of the fraction that is left.
std::vector<int32_t> draw(const OrderInput& input, bool shuffle, RandomStream& stream) {
  std::vector<int32_t> drawn;
  for (size_t task = 0; task < input.weights.size(); ++task) {
    std::vector<int32_t> members;
    for (size_t i = 0; i < input.task.size(); ++i) {
      if (input.task[i] == static_cast<int32_t>(task)) members.push_back(static_cast<int32_t>(i));
    }
    const double whole = std::floor(input.weights[task]);
    for (int64_t k = 0; k < static_cast<int64_t>(whole); ++k) {
      drawn.insert(drawn.end(), members.begin(), members.end());
    }
    const double fraction = input.weights[task] - whole;
    if (fraction <= 0) continue;
    stream.shuffle(members);
    members.resize(
        static_cast<size_t>(std::llround(fraction * static_cast<double>(members.size()))));
    drawn.insert(drawn.end(), members.begin(), members.end());
  }
  std::stable_sort(drawn.begin(), drawn.end());
  if (shuffle) stream.shuffle(drawn);
  return drawn;
}

class Filling {
 public:
  Filling(const OrderInput& input, const LoaderConfig& config) : input_(input), config_(config) {}

  bool fits(int32_t sample) const {
    if (batch_.empty()) return true;
    if (static_cast<int64_t>(batch_.size()) >= config_.batch_samples) return false;
    return config_.batch_tokens == 0 || tokens_ + length(sample) <= config_.batch_tokens;
  }
  void add(int32_t sample) {
    batch_.push_back(sample);
    tokens_ += length(sample);
  }
  std::vector<int32_t> take() {
    tokens_ = 0;
    return std::exchange(batch_, {});
  }
  const std::vector<int32_t>& batch() const { return batch_; }

 private:
  int64_t length(int32_t sample) const { return input_.lengths[static_cast<size_t>(sample)]; }

  const OrderInput& input_;
  const LoaderConfig& config_;
  std::vector<int32_t> batch_;
  int64_t tokens_ = 0;
};

}  // namespace

OrderInput order_input(const std::vector<Encoded>& samples, const Json& mix) {
  OrderInput input;
  std::vector<std::string> tasks;
  for (const Encoded& sample : samples) {
    auto found = std::find(tasks.begin(), tasks.end(), sample.task);
    if (found == tasks.end()) found = tasks.insert(tasks.end(), sample.task);
    input.lengths.push_back(sample.length());
    input.task.push_back(static_cast<int32_t>(found - tasks.begin()));
  }
  input.weights.assign(tasks.size(), 1.0);
  if (!mix.is_object()) throw UsageError(str("mix: expected an object, found ", mix.dump()));
  for (const auto& [task, weight] : mix.items()) {
    const auto found = std::find(tasks.begin(), tasks.end(), task);
    if (found == tasks.end()) {
      throw UsageError(str("mix: no sample has the task \"", task, "\"; the data has ",
                           join(tasks, ", ")));
    }
    if (!weight.is_number() || !(weight.get<double>() >= 0 && weight.get<double>() <= 1000)) {
      throw UsageError(str("mix.", task, ": expected a number from 0 to 1000, found ", weight.dump()));
    }
    input.weights[static_cast<size_t>(found - tasks.begin())] = weight.get<double>();
  }
  return input;
}

EpochOrder epoch_order(const OrderInput& input, const LoaderConfig& config, uint64_t seed,
                       int64_t epoch) {
  RandomStream stream(seed, str("data/epoch/", epoch));
  std::vector<int32_t> drawn = draw(input, config.shuffle, stream);
  if (config.length_bucketing) {
    const auto window = static_cast<size_t>(config.batch_samples * kBucketBatches);
    for (size_t begin = 0; begin < drawn.size(); begin += window) {
      const size_t end = std::min(begin + window, drawn.size());
      std::stable_sort(drawn.begin() + static_cast<std::ptrdiff_t>(begin),
                       drawn.begin() + static_cast<std::ptrdiff_t>(end), [&](int32_t a, int32_t b) {
                         return input.lengths[static_cast<size_t>(a)] <
                                input.lengths[static_cast<size_t>(b)];
                       });
    }
  }
  EpochOrder order;
  Filling filling(input, config);
  for (const int32_t sample : drawn) {
    if (!filling.fits(sample)) order.push_back(filling.take());
    filling.add(sample);
  }
  // The last batch is full when a repeat of any of its samples would not fit.
  const size_t last_size = filling.batch().size();
  const bool full = last_size > 0 && !filling.fits(filling.batch().back());
  if (last_size > 0 && !full && config.last_batch == "fill") {
    for (size_t i = 0; i + last_size < drawn.size() && filling.fits(drawn[i]); ++i) {
      filling.add(drawn[i]);
    }
  }
  const bool keep = full || order.empty() || config.last_batch != "drop";
  if (last_size > 0 && keep) order.push_back(filling.take());
  if (config.length_bucketing && config.shuffle) stream.shuffle(order);
  return order;
}

}  // namespace mose::data
