// Hand-made encoded samples and pictures for the loader's tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "mose/data/loader.h"

namespace mose::data {

// A folder that is gone after the test, with count pictures "0.png", "1.png", ...: picture i is grey
// with value 10 * i, 16 x 8.
class Pictures {
 public:
  explicit Pictures(int count) {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = std::filesystem::temp_directory_path() /
           ("mose_data_" + std::to_string(getpid()) + "_" + test->name());
    std::filesystem::create_directories(dir_);
    for (int i = 0; i < count; ++i) {
      cv::imwrite((dir_ / (std::to_string(i) + ".png")).string(),
                  cv::Mat(8, 16, CV_8UC3, cv::Scalar::all(10 * i)));
    }
  }
  ~Pictures() { std::filesystem::remove_all(dir_); }
  const std::filesystem::path& dir() const { return dir_; }

 private:
  std::filesystem::path dir_;
};

// Sample i: tokens 100 i, 100 i + 1, ...; the last two rows have targets; row 1 is labelled with skill
// i % 2 and confidence 0.5.
inline Encoded make_encoded(int64_t i, int64_t length, const std::string& task = "scene") {
  Encoded sample;
  sample.id = "sample_" + std::to_string(i);
  sample.image = std::to_string(i) + ".png";
  sample.task = task;
  for (int64_t t = 0; t < length; ++t) {
    sample.tokens.push_back(100 * i + t);
    sample.targets.push_back(t >= length - 2 ? 100 * i + t + 1 : -100);
    sample.segments.push_back(t >= length - 2 ? i % 3 : -1);
  }
  sample.stages.row.assign(static_cast<size_t>(length), -1);
  sample.skills.row = sample.stages.row;
  sample.stages.labels = {{{{0, 1.0f}}, 0.5f}};
  sample.skills.labels = {{{{static_cast<int32_t>(i % 2), 1.0f}}, 0.5f}};
  sample.stages.row[1] = sample.skills.row[1] = 0;
  sample.prompt_length = length - 2;
  return sample;
}

inline std::vector<Encoded> make_samples(int64_t count) {
  std::vector<Encoded> samples;
  for (int64_t i = 0; i < count; ++i) samples.push_back(make_encoded(i, 3 + i % 4));
  return samples;
}

inline vision::PreprocessConfig small_frame() {
  vision::PreprocessConfig config;
  config.width = 8;
  config.height = 4;
  config.mean = {0, 0, 0};
  config.std = {1, 1, 1};
  return config;
}

inline LoaderConfig loader_config(int64_t batch_samples, int64_t workers = 2) {
  LoaderConfig config;
  config.batch_samples = batch_samples;
  config.workers = workers;
  return config;
}

inline constexpr LabelSizes kSizes{2, 3};

}  // namespace mose::data
