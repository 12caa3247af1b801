// Image preprocessing behind a pipe, for comparisons with other libraries.
//   preprocess DIR OUT FILE...              frames of DIR's preprocessor_config.json
//   preprocess DIR OUT --anyres [[H,W],...] FILE...
// appends every file's values to OUT as float32 and prints a line each: {"shape": [...]} or {"error": "..."}.
//   preprocess DIR time ROUNDS FILE...      prints the seconds of CPU time of each round over all files; a
//                                           line on stdin starts the next
//   preprocess DIR save TO                  writes the config again
#include <ctime>
#include <fstream>
#include <iostream>

#include "mose/core/error.h"
#include "mose/vision/anyres.h"

namespace {

using mose::Json;
namespace vision = mose::vision;

vision::Tiling tiling_from(const std::string& text, const vision::PreprocessConfig& config) {
  vision::Tiling tiling{{config.width, config.height}, 1, 1, 1, {}};
  for (const Json& pair : mose::parse_json(text, "--anyres")) tiling.pinpoints.push_back({pair.at(1), pair.at(0)});
  return tiling;
}

int run(std::vector<std::string> args) {
  if (args.size() < 3) throw mose::UsageError("preprocess DIR OUT [--anyres PINPOINTS] FILE...");
  const vision::PreprocessConfig config = vision::load_preprocess(args[0]);
  if (args[1] == "time") {
    for (int64_t round = std::stoll(args[2]); round > 0; --round) {
      const std::clock_t begin = std::clock();
      for (size_t i = 3; i < args.size(); ++i) vision::load_image(args[i], config);
      std::cout << static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC << std::endl;
      if (round > 1) std::cin.get();  // the other side's turn
    }
    return 0;
  }
  if (args[1] == "save") {
    vision::save_preprocess(args[2], config);
    return 0;
  }
  std::ofstream out(args[1], std::ios::binary);
  const bool anyres = args[2] == "--anyres";
  const size_t first = anyres ? 4 : 2;
  for (size_t i = first; i < args.size(); ++i) {
    Json line;
    try {
      const torch::Tensor values =
          anyres ? vision::load_picture(args[i], config, tiling_from(args.at(3), config)).tiles_NCHW : vision::load_image(args[i], config);
      out.write(reinterpret_cast<const char*>(values.data_ptr<float>()),
                static_cast<std::streamsize>(values.numel() * sizeof(float)));
      line["shape"] = values.sizes().vec();
    } catch (const mose::DataError& e) {
      line["error"] = e.what();
    }
    std::cout << line.dump() << '\n';
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const mose::Error& e) {
    std::cerr << "preprocess: " << e.what() << '\n';
    return e.exit_code();
  }
}
