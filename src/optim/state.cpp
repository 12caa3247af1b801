#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/optim/update.h"

namespace mose::optim {

using torch::Tensor;

std::string piece_name(const std::string& name, int64_t begin, int64_t end) {
  return mose::str(name, "[", begin, ":", end, "]");
}

StateReader::StateReader(const std::map<std::string, Tensor>& state) {
  for (const auto& [key, tensor] : state) {
    const size_t bracket = key.find('[');
    if (bracket == std::string::npos) {
      pieces_[key].push_back({0, tensor.numel(), tensor, true});
      continue;
    }
    Piece piece{-1, -1, tensor, false};
    const char* last = key.data() + key.size();
    auto [middle, error] = std::from_chars(key.data() + bracket + 1, last, piece.begin);
    if (error == std::errc() && middle < last && *middle == ':') {
      std::tie(middle, error) = [&] {
        const auto [p, e] = std::from_chars(middle + 1, last, piece.end);
        return std::pair(p, e);
      }();
    }
    if (error != std::errc() || middle + 1 != last || *middle != ']' || piece.begin < 0 ||
        piece.end - piece.begin != tensor.numel()) {
      throw DataError(mose::str("optimizer state: ", key, ": expected a piece NAME[begin:end] of end - begin elements, found ",
                                tensor.numel(), " elements"));
    }
    pieces_[key.substr(0, bracket)].push_back(piece);
  }
  for (auto& [name, pieces] : pieces_) {
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  }
}

void StateReader::check(const std::string& name, at::IntArrayRef shape, int64_t begin, int64_t end) const {
  const auto found = pieces_.find(name);
  if (found == pieces_.end()) throw DataError(mose::str("optimizer state: no tensor ", name));
  int64_t have = begin;
  for (const Piece& piece : found->second) {
    if (piece.whole && piece.tensor.sizes() != shape) {
      throw DataError(mose::str("optimizer state: ", name, ": expected shape ", shape, ", found ", piece.tensor.sizes()));
    }
    if (piece.begin <= have) have = std::max(have, piece.end);
  }
  const int64_t whole = c10::multiply_integers(shape);
  if (have < end) throw DataError(mose::str("optimizer state: ", name, ": elements ", have, " to ", end, " of ", whole, " are missing"));
  if (found->second.back().end > whole) {
    throw DataError(mose::str("optimizer state: ", name, ": expected ", whole, " elements, found ", found->second.back().end));
  }
}

void StateReader::check_names(const std::set<std::string>& known) const {
  for (const auto& [name, pieces] : pieces_) {
    if (!known.contains(name)) throw DataError(mose::str("optimizer state: unknown tensor ", name));
  }
}

void StateReader::read(const std::string& name, int64_t begin, int64_t end, const Tensor& out) const {
  const torch::NoGradGuard no_grad;
  const Tensor flat = out.view({-1});
  for (const Piece& piece : pieces_.at(name)) {
    const int64_t from = std::max(begin, piece.begin), to = std::min(end, piece.end);
    if (from >= to) continue;
    flat.narrow(0, from - begin, to - from).copy_(piece.tensor.reshape({-1}).narrow(0, from - piece.begin, to - from));
  }
}

}  // namespace mose::optim
