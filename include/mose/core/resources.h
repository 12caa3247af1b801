// Files that ship with the programs: configs/ in the source tree, share/mose/configs once installed.
#pragma once

#include <filesystem>
#include <string>

namespace mose {

// `relative` is below configs/, for example "skills/driving.json". Looks in $MOSE_CONFIGS, then
// from the running program in ../../configs (a build tree) and ../share/mose/configs (an installed
// prefix), then in the tree this was built from. DataError lists the places when none has it.
std::filesystem::path resource(const std::string& relative);

}  // namespace mose
