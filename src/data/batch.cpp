#include "mose/data/batch.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "data/collate.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::data {
namespace {

// Writes a sample's rows of one level from `row` on; the tensors are zero before.
void write_labels(const RowLabels& from, int64_t row, torch::Tensor& classes, torch::Tensor& weights) {
  const int64_t width = classes.size(1);
  float* out = classes.data_ptr<float>();
  float* weight = weights.data_ptr<float>();
  for (const int32_t index : from.row) {
    if (index >= 0) {
      const SoftLabel& label = from.labels[static_cast<size_t>(index)];
      for (const auto& [c, share] : label.classes) {
        if (c >= width) throw Error(str("collate: class ", c, " of a label exceeds ", width, " classes"));
        out[row * width + c] = share;
      }
      weight[row] = label.weight;
    }
    ++row;
  }
}

torch::Tensor rows(const torch::Tensor& tensor, int64_t begin, int64_t end) {
  return tensor.defined() ? tensor.slice(0, begin, end) : tensor;
}

int64_t count_tiles(std::vector<vision::ImageLayout>::const_iterator begin, std::vector<vision::ImageLayout>::const_iterator end) {
  return std::accumulate(begin, end, int64_t{0}, [](int64_t sum, const auto& layout) { return sum + layout.tiles(); });
}

// [K, N] of N tuples of K numbers.
template <size_t K>
torch::Tensor tuples_tensor(const std::vector<std::array<int64_t, K>>& tuples) {
  torch::Tensor out = torch::empty({static_cast<int64_t>(tuples.size()), static_cast<int64_t>(K)}, torch::kInt64);
  for (size_t i = 0; i < tuples.size(); ++i) std::copy(tuples[i].begin(), tuples[i].end(), out.data_ptr<int64_t>() + K * i);
  return out.t().contiguous();
}

// The tuples of the images [begin, end), which are counted from begin.
torch::Tensor slice_images(const torch::Tensor& tuples_KN, int64_t begin, int64_t end) {
  if (!tuples_KN.defined()) return tuples_KN;
  const auto image_N = tuples_KN[0];
  auto part = tuples_KN.index_select(1, ((image_N >= begin) & (image_N < end)).nonzero().squeeze(1));
  part[0].sub_(begin);
  return part;
}

}  // namespace

Batch collate(const std::vector<Item>& items, const LabelSizes& sizes) {
  if (items.empty()) throw Error("collate: expected at least one sample");
  Batch batch;
  std::vector<int64_t> lengths;
  std::vector<torch::Tensor> tiles, regions;
  std::vector<std::array<int64_t, 3>> row_words;
  std::vector<std::array<int64_t, 2>> scene_words;
  for (const Item& item : items) {
    lengths.push_back(item.sample->length());
    batch.ids.push_back(item.sample->id);
    batch.images.push_back(item.has_image ? 1 : 0);
    if (item.has_image) {
      const int64_t image = batch.image_count();
      for (const auto& [row, token] : item.row_words) row_words.push_back({image, row, token});
      for (const int64_t token : item.sample->scene_words) scene_words.push_back({image, token});
      if (item.tiles_NCHW.defined()) tiles.push_back(item.tiles_NCHW);
      batch.layouts.push_back(item.sample->layout);
    }
    if (item.region_PC.defined()) regions.push_back(item.region_PC);
  }
  batch.plan = nn::make_plan(lengths);
  const int64_t total = batch.plan.tokens();
  batch.tokens_T = torch::empty({total}, torch::kInt64);
  batch.targets_T = torch::empty({total}, torch::kInt64);
  batch.segments_T = torch::empty({total}, torch::kInt64);
  batch.labels.stage_TG = torch::zeros({total, sizes.stages});
  batch.labels.stage_weight_T = torch::zeros({total});
  batch.labels.skill_TS = torch::zeros({total, sizes.skills});
  batch.labels.skill_weight_T = torch::zeros({total});
  int64_t row = 0;
  for (const Item& item : items) {
    const Encoded& sample = *item.sample;
    const auto copy = [row](const std::vector<int64_t>& from, torch::Tensor& to) {
      std::copy(from.begin(), from.end(), to.data_ptr<int64_t>() + row);
    };
    copy(sample.tokens, batch.tokens_T);
    copy(sample.targets, batch.targets_T);
    copy(sample.segments, batch.segments_T);
    write_labels(sample.stages, row, batch.labels.stage_TG, batch.labels.stage_weight_T);
    write_labels(sample.skills, row, batch.labels.skill_TS, batch.labels.skill_weight_T);
    batch.targets.push_back(
        std::count_if(sample.targets.begin(), sample.targets.end(), [](int64_t t) { return t >= 0; }));
    batch.supervised += batch.targets.back();
    row += sample.length();
  }
  if (!tiles.empty()) batch.pixels_BCHW = torch::cat(tiles);
  if (!regions.empty()) batch.region_BPC = torch::stack(regions);
  batch.row_words_3N = tuples_tensor(row_words);
  batch.scene_words_2N = tuples_tensor(scene_words);
  batch.samples = static_cast<int64_t>(items.size());
  return batch;
}

namespace {

// The batch with `change` made to each tensor that it has.
template <class F>
Batch with_tensors(const Batch& batch, const F& change) {
  Batch result = batch;
  for (torch::Tensor* x : {&result.tokens_T, &result.plan.positions_T, &result.pixels_BCHW, &result.features_BPD, &result.targets_T,
                           &result.segments_T, &result.labels.stage_TG, &result.labels.stage_weight_T, &result.labels.skill_TS,
                           &result.labels.skill_weight_T, &result.region_BPC, &result.row_words_3N, &result.scene_words_2N}) {
    if (x->defined()) *x = change(*x);
  }
  return result;
}

}  // namespace

Batch to_device(const Batch& batch, torch::Device device) {
  return with_tensors(batch, [&](const torch::Tensor& x) { return x.to(device, /*non_blocking=*/true); });
}

Batch pinned(const Batch& batch) {
  return with_tensors(batch, [](const torch::Tensor& x) { return x.pin_memory(); });
}

Batch slice_samples(const Batch& batch, int64_t begin, int64_t end) {
  if (begin < 0 || begin >= end || end > batch.samples) {
    throw Error(str("slice_samples: samples ", begin, " to ", end, " of a batch of ", batch.samples));
  }
  Batch result;
  std::vector<int64_t> lengths;
  for (int64_t n = begin; n < end; ++n) {
    const auto i = static_cast<size_t>(n);
    lengths.push_back(batch.plan.offsets[i + 1] - batch.plan.offsets[i]);
    result.ids.push_back(batch.ids[i]);
    result.images.push_back(batch.images[i]);
    result.targets.push_back(batch.targets[i]);
    result.supervised += batch.targets[i];
  }
  const int64_t first = batch.plan.offsets[static_cast<size_t>(begin)];
  const int64_t last = batch.plan.offsets[static_cast<size_t>(end)];
  result.tokens_T = rows(batch.tokens_T, first, last);
  result.plan = nn::make_plan(lengths, batch.tokens_T.device());
  result.targets_T = rows(batch.targets_T, first, last);
  result.segments_T = rows(batch.segments_T, first, last);
  result.labels.stage_TG = rows(batch.labels.stage_TG, first, last);
  result.labels.stage_weight_T = rows(batch.labels.stage_weight_T, first, last);
  result.labels.skill_TS = rows(batch.labels.skill_TS, first, last);
  result.labels.skill_weight_T = rows(batch.labels.skill_weight_T, first, last);
  const auto images = batch.images.begin();
  const int64_t first_image = std::accumulate(images, images + begin, int64_t{0});
  const int64_t last_image = std::accumulate(images + begin, images + end, first_image);
  if (last_image > first_image) {
    const auto layouts = batch.layouts.begin();
    result.layouts.assign(layouts + first_image, layouts + last_image);
    const int64_t first_tile = count_tiles(layouts, layouts + first_image);
    const int64_t last_tile = first_tile + count_tiles(layouts + first_image, layouts + last_image);
    result.pixels_BCHW = rows(batch.pixels_BCHW, first_tile, last_tile);
    result.features_BPD = rows(batch.features_BPD, first_tile, last_tile);
    result.region_BPC = rows(batch.region_BPC, first_image, last_image);
  }
  result.row_words_3N = slice_images(batch.row_words_3N, first_image, last_image);
  result.scene_words_2N = slice_images(batch.scene_words_2N, first_image, last_image);
  result.samples = end - begin;
  return result;
}

}  // namespace mose::data
