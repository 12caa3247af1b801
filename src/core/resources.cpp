#include "mose/core/resources.h"

#include <cstdlib>
#include <vector>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose {

namespace fs = std::filesystem;

fs::path resource(const std::string& relative) {
  std::vector<fs::path> places;
  if (const char* configs = std::getenv("MOSE_CONFIGS"); configs && *configs) {
    places.emplace_back(configs);
  }
  std::error_code code;
  if (const fs::path program = fs::read_symlink("/proc/self/exe", code); !code) {
    const fs::path bin = program.parent_path();
    places.push_back((bin / "../../configs").lexically_normal());
    places.push_back((bin / "../share/mose/configs").lexically_normal());
  }
  places.emplace_back(MOSE_SOURCE_CONFIGS);
  std::vector<std::string> tried;
  for (const fs::path& place : places) {
    if (fs::is_regular_file(place / relative, code)) return place / relative;
    tried.push_back(place.string());
  }
  throw DataError(str("cannot find configs/", relative, "; looked in ", join(tried, ", "),
                      "; set MOSE_CONFIGS to the folder that holds it"));
}

}  // namespace mose
