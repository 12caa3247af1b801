// A data set of procedural driving scenes in CODA-LM's exact layout, so that the reader of real
// CODA-LM reads it unchanged:
//
//   DIR/CODA-LM/{Train,Val,Test}/{val,test}_NNNN.json       annotations (Train refers to val
//   images) DIR/CODA-LM/<Split>/vqa_anno/<task>.jsonl               questions with reference
//   answers DIR/{val,test}/images/NNNN.jpg                          pictures
//   DIR/{val,test}/images_w_boxes/NNNN_object_K.jpg         a copy with region K in a red rectangle
//   DIR/facts/<Split>/<id>.json                             the true facts; training never reads
//   them DIR/scenes.json                                         the options, written last
#pragma once

#include <cstdint>
#include <filesystem>

namespace mose::scenes {

struct Options {
  std::filesystem::path out;
  int64_t train = 0, val = 0, test = 0;  // scenes of each split
  uint64_t seed = 0;
  int64_t width = 640, height = 360;  // pixels, 16:9 within rounding
  // Rare situations. Of every 100 combinations of class, place and weather about 100 * hold_out never occur in Train
  // and Val; Test has them all, its facts files say which ("held_out" of an object). With a tail the k-th class of the
  // world's list is drawn in Train and Val in proportion to k^-tail; Test draws all classes alike.
  double hold_out = 0, tail = 0;
  int64_t threads = 2;                // does not change a byte of the output
};

// Writes the whole data set; the same options (threads aside) give the same bytes. When
// DIR/scenes.json says that the same options already wrote it, returns without writing; a data set
// left half written by the same options is redone. UsageError on bad options, or when `out` holds
// other data; Interrupted after a signal.
void write_dataset(const Options& options);

}  // namespace mose::scenes
