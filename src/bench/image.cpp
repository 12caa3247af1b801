// JPEG bytes to a tower's input on one core: ours against Pillow and torchvision with transformers' processors.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "bench/session.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/vision/preprocess.h"

namespace mose::bench {
namespace {

constexpr int64_t kPictures = 6;  // a turn

struct Processor {
  const char *key, *about;
};
constexpr Processor kProcessors[] = {
    {"clip", "CLIP, crop 336"}, {"siglip", "SigLIP, stretch 384"}, {"llava", "LLaVA, pad 336"}};

using Files = std::vector<std::string>;

// As tests/parity/preprocess.py: no value more than one level of 255 off, 999 of 1,000 the same.
void check_pixels(const Files& files, const vision::PreprocessConfig& config, const std::filesystem::path& reference) {
  const std::string bytes = read_file(reference);
  size_t at = 0;
  int64_t off = 0, all = 0;
  double worst = 0;
  for (const std::string& file : files) {
    const torch::Tensor ours = vision::load_image(file, config);
    torch::Tensor theirs = torch::empty_like(ours);
    if (at + ours.nbytes() > bytes.size()) throw Error(str(file, ": our input is larger than the reference's"));
    std::memcpy(theirs.data_ptr<float>(), bytes.data() + at, ours.nbytes());
    at += ours.nbytes();
    const torch::Tensor levels = (ours - theirs).abs() * torch::tensor(config.std).view({3, 1, 1}).to(torch::kFloat32) * 255;
    worst = std::max(worst, levels.max().item<double>());
    off += (levels > 0.01).sum().item<int64_t>();
    all += levels.numel();
  }
  if (at != bytes.size()) throw Error("our input is smaller than the reference's");
  if (worst > 1.01 || static_cast<double>(off) > 1e-3 * static_cast<double>(all)) {
    throw Error(str("the pixels differ: ", off, " of ", all, ", by ", worst, " levels at most"));
  }
}

void bench_processor(Session& session, Peer& peer, const ScratchFolder& folder, const Files& files, const Processor& processor,
                     const std::string& size) {
  const std::string name = str("JPEG to input: ", processor.about);
  peer.call("choose", {{"folder", folder.path().string()}, {"processor", processor.key}});
  const auto config = vision::load_preprocess(folder.path());
  check_pixels(files, config, folder.path() / "values");

  std::vector<double> decoding;
  Comparison c;
  c.name = name;
  c.shape = size;
  c.ours = [&] {
    return cpu_seconds([&] {
      for (const std::string& file : files) vision::load_image(file, config);
    });
  };
  c.sides = {{"Pillow + transformers' PIL processor", [&] {
                decoding.push_back(peer.seconds("run", {{"way", "decode"}}));
                return peer.seconds("run", {{"way", "classic"}});
              }}};
  if (session.attempt(name + ", " + size, "torchvision", [&] { peer.call("choose_fast", {{"processor", processor.key}}); })) {
    c.sides.push_back({"torchvision + transformers' processor", [&] { return peer.seconds("run", {{"way", "fast"}}); }});
  }
  c.finish = [&](Row& row) {
    row.limit_share = 1000 * median(decoding) / row.ours_ms;
    for (double* value : {&row.ours_ms, &row.peer_ms}) *value /= kPictures;
    row.more = {{"threads", 1}, {"clock", "CPU"}, {"limit", "Pillow's decoding alone"},
                {"pictures_per_second", std::round(1e4 / row.ours_ms) / 10}};
  };
  session.compare(c);
}

}  // namespace

void bench_image(Session& session) {
  at::set_num_threads(1);
  const auto peer = session.start_peer("image", 1);
  for (const auto& [width, height] : {std::pair(1280, 720), std::pair(1920, 1080)}) {
    const ScratchFolder folder;
    const Files files = peer->call("make_pictures", {{"folder", folder.path().string()}, {"width", width}, {"height", height},
                                                     {"count", kPictures}}).at("files");
    for (const Processor& processor : kProcessors) {
      const std::string size = str(width, "x", height);
      session.attempt(str("JPEG to input: ", processor.about, ", ", size), "Pillow", [&] {
        bench_processor(session, *peer, folder, files, processor, size);
      });
    }
  }
}

}  // namespace mose::bench
