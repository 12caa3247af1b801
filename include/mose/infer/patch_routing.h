// Which expert each patch of an image goes to, layer by layer, and the picture of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mose/infer/generator.h"
#include "mose/models/bundle.h"
#include "mose/vision/cell_overlay.h"

namespace mose::infer {

// A sparse layer's choices for the cells (rows of the decoder) of the whole image's frame, row by row.
struct PatchRouting {
  int64_t layer = 0;               // of the decoder
  int64_t across = 0, down = 0;    // cells
  std::vector<int64_t> expert;     // the most probable
  std::vector<int64_t> skill;      // the most probable, -1 where the router has no skill logits
};

// The rows [first, first + across * down) of a layer's routing.
PatchRouting patch_routing(const language::LayerRouting& layer, int64_t first, int64_t across, int64_t down);

// One a sparse layer, from one pass over the prompt, of its first picture. A row sees what stands before it alone, so a question
// after the picture changes nothing (but where a router keeps a capacity: deepspeed095). UsageError on a dense model, a prompt without a picture, and a model that does not give
// every cell of the frame a row.
std::vector<PatchRouting> route_patches(models::VisionLanguageModel& model, const Prompt& prompt);

// "expert 2: vehicle, barrier" by the skills assigned to it; "expert 2" where the router was taught none.
std::vector<std::string> expert_names(const models::VisionLanguageModel& model, const skills::Taxonomy& taxonomy);

// A panel a layer over the tower's frame of the picture, experts with their shares of all cells below.
vision::Overlay draw_routing(const models::Bundle& bundle, const vision::Picture& picture, const std::vector<PatchRouting>& layers);

}  // namespace mose::infer
