// Names chosen by patterns: of parameters to train, of layers that get adapters.
#pragma once

#include <string>
#include <vector>

namespace mose {

// Whether `name` is `pattern`, where * stands for any text.
bool matches(const std::string& name, const std::string& pattern);

// Whether the list chooses `name`: the last pattern that matches counts, and one that begins with ! takes out.
bool chosen(const std::string& name, const std::vector<std::string>& patterns);

}  // namespace mose
