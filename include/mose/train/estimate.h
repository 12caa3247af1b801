// What a recipe will take on a machine that is not at hand, reckoned from the products of its matrices. Nothing is
// measured: `mose-train --dry-run` on the machine itself is.
#pragma once

#include <string>

#include "mose/train/recipe.h"

namespace mose::train {

struct EstimateOptions {
  int64_t processes = 8;
  double share = 0.3;  // of recipe.peak_teraflops that a process reaches
  double price = 0;    // money for an hour of one process's device; 0 = not counted
  int64_t rows = 0;    // of every sample, image rows included; 0 = data.encode.max_tokens, the most there can be
};

// {"assumed": {"processes", "peak_teraflops", "share", "sample_rows", "image_rows", "price"?}, "stages": [{"name", "steps",
// "samples" (seen in all), "flops", "seconds"}], "flops", "seconds", "device_hours", "cost"?}.
//
//   seconds = FLOPs / (processes * peak_teraflops * 1e12 * share)
//
// FLOPs are those of share_of_peak in metrics.jsonl (train/flops.h): every matrix forward, and backward where something
// learns; a cached router stage passes forward over the samples that fill its cache, every text row of them counted as
// labelled. Every text row counts as one to predict. Not counted: attention's own products, adapters, recomputation, the steps of a
// cached router stage, validation, files. The model is that of init_from, where there is one; an image is 1920 x 1080 pixels.
// UsageError without peak_teraflops, on rows that hold no text, and on stages that do not fit the model.
Json estimate(const Recipe& recipe, const EstimateOptions& options);
std::string estimate_table(const Json& estimate);

}  // namespace mose::train
