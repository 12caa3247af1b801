#include "mose/train/corpus.h"

#include <algorithm>
#include <map>
#include <set>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/resources.h"
#include "mose/skills/prepare.h"
#include "mose/text/chat.h"
#include "mose/vision/anyres.h"

namespace mose::train {
namespace {

namespace fs = std::filesystem;

skills::Dataset load_split(const fs::path& dir, const std::string& split, const DataConfig& config) {
  auto dataset = skills::load_dataset(dir, to_lower(split));
  std::erase_if(dataset.samples, [&](const skills::Sample& s) {
    return s.form != config.form || (!config.regions && s.task == "region_perception");
  });
  if (dataset.samples.empty()) {
    throw DataError(str(dir.string(), ": split ", split, " has no sample of form ", config.form));
  }
  return dataset;
}

// The samples of the first `scenes` images: ids begin with the image's name ("val_0001/single").
void keep_scenes(std::vector<skills::Sample>& samples, int64_t scenes) {
  std::set<std::string> kept;
  std::erase_if(samples, [&](const skills::Sample& s) {
    const std::string scene = s.id.substr(0, s.id.find('/'));
    if (static_cast<int64_t>(kept.size()) < scenes) kept.insert(scene);
    return !kept.contains(scene);
  });
}

// The layouts of a dataset's images, each found once.
class Layouts {
 public:
  Layouts(fs::path root, vision::Tiling tiling, bool blind) : root_(std::move(root)), tiling_(std::move(tiling)), blind_(blind) {}

  vision::ImageLayout of(const std::string& image) {
    if (blind_ || image.empty()) return vision::layout_image(tiling_.tile, tiling_);
    const auto found = layouts_.find(image);
    return found != layouts_.end() ? found->second : layouts_[image] = vision::layout_file(root_ / image, tiling_);
  }

 private:
  const fs::path root_;
  const vision::Tiling tiling_;
  const bool blind_;
  std::map<std::string, vision::ImageLayout> layouts_;
};

}  // namespace

Corpus load_corpus(const Recipe& recipe, const fs::path& run) {
  const auto& config = recipe.data;
  fs::path dir = config.dataset;
  if (dir.empty()) {
    dir = run / "data";
    const auto taxonomy = skills::Taxonomy::load(
        config.taxonomy.empty() ? resource("skills/driving.json") : fs::path(config.taxonomy));
    skills::PrepareOptions options;
    options.skip_bad = config.skip_bad;
    for (const auto& split : {config.train_split, config.validation_split}) {
      if (fs::exists(dir / (to_lower(split) + ".jsonl"))) continue;
      skills::prepare(config.root, split, dir, taxonomy, options);
    }
  }
  Corpus corpus{load_split(dir, config.train_split, config), load_split(dir, config.validation_split, config)};
  if (config.max_scenes > 0) keep_scenes(corpus.train.samples, config.max_scenes);
  for (auto& sample : corpus.train.samples) skills::disturb_labels(sample, corpus.train.taxonomy, config.labels, recipe.seed());
  log::info("data: ", corpus.train.samples.size(), " training and ", corpus.validation.samples.size(),
            " validation samples from ", dir.string());
  return corpus;
}

text::Tokenizer train_tokenizer(const skills::Dataset& dataset, int64_t vocabulary, const std::string& chat_template) {
  std::vector<std::string> texts;
  for (const auto& sample : dataset.samples) {
    texts.push_back(sample.answer);
    texts.push_back(sample.question);
  }
  std::vector<std::string> special = {"<image>"};
  if (chat_template == "chatml") special.insert(special.end(), {"<|im_start|>", "<|im_end|>"});
  const std::string end = trim(text::end_of_turn(chat_template));
  if (std::find(special.begin(), special.end(), end) == special.end()) special.push_back(end);
  return text::train_byte_bpe(texts, vocabulary, special);
}

std::vector<data::Encoded> encode_samples(const skills::Dataset& dataset, const models::Bundle& bundle,
                                          const DataConfig& config, int64_t limit) {
  std::vector<data::Encoded> out;
  Layouts layouts(dataset.root, bundle.model->config().tiling(), config.loader.blind);
  int64_t cut = 0;
  for (const auto& sample : dataset.samples) {
    if (limit > 0 && static_cast<int64_t>(out.size()) >= limit) break;
    vision::ImageLayout layout;
    try {
      layout = layouts.of(sample.image);
    } catch (const DataError& error) {
      if (config.loader.on_bad_sample != "skip") throw DataError(str("sample ", sample.id, ": ", error.what()));
      log::warn("skipped sample ", sample.id, ": ", error.what());
      continue;
    }
    out.push_back(data::encode_sample(sample, bundle.taxonomy, bundle.tokenizer, config.encode, layout));
    if (out.back().cut_tokens > 0) ++cut;
  }
  if (cut > 0) log::warn(cut, " of ", out.size(), " answers were cut at max_tokens = ", config.encode.max_tokens);
  return out;
}

std::vector<double> skill_mass(const std::vector<data::Encoded>& samples, const skills::Taxonomy& taxonomy) {
  std::vector<double> mass(taxonomy.skills().size(), 0);
  for (const auto& sample : samples) {
    for (const int32_t row : sample.skills.row) {
      if (row < 0) continue;
      const auto& label = sample.skills.labels[static_cast<size_t>(row)];
      for (const auto& [skill, share] : label.classes) mass[static_cast<size_t>(skill)] += share * label.weight;
    }
  }
  return mass;
}

}  // namespace mose::train
