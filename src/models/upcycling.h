// What upcycling is, for a model in memory (mose/models/upcycle.h) and for mapped files (mose/models/import.h).
#pragma once

#include <string>

#include "mose/language/backbone.h"

namespace mose::models {

// UsageError where experts that copy the FFNs would not compute what the dense decoder does.
void check_upcycling(const language::Config& dense, const moe::Config& moe);

// By names of weights_for_file: "...mlp.experts.3.up_proj.weight" copies "...mlp.up_proj.weight"; empty where
// `name` is no expert's.
std::string copied_by_expert(const std::string& name);

}  // namespace mose::models
