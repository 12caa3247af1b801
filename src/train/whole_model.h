// A model whose experts are divided over processes is taken apart before it trains and put together to be written.
#pragma once

#include "train/session.h"

namespace mose::train {

// Leaves this process its experts of every sparse layer, where the recipe asks for it.
void divide_experts(Session& session);
// Whether this process holds a part of the parameter alone.
bool is_divided(const Session& session, const std::string& name);

// What a checkpoint of the model holds, as rank 0 writes it; on the others without weights and adapters. Called by all.
CheckpointContents whole_model(Session& session, const nn::LoraConfig& lora);
// The whole model as a directory, by rank 0. Called by all.
void save_model(Session& session, const std::filesystem::path& dir);

// A forward and a backward pass over no rows, by a process that has no batch while others have one: experts are
// computed where they are, so every process comes to the same layers.
void pass_without_rows(Session& session);

}  // namespace mose::train
