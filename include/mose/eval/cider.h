// CIDEr-D (Vedantam, Zitnick, Parikh, 2015): tf-idf weighted n-gram similarity over a whole set.
#pragma once

#include <string>
#include <vector>

namespace mose::eval {

// 0 to 10 for each item, and their mean, as pycocoevalcap's Cider gives them for one reference an
// item and the same tokens:
//   10 · 1/4 Σ_n exp(-(l_h - l_r)² / (2 · 6²)) · <min(g_n(h), g_n(r)), g_n(r)> / (|g_n(h)|
//   |g_n(r)|)
// where g_n(x)_w = count of w in x · (log N - log max(1, df(w))), N is the number of items, df the
// number of references that hold the n-gram w, and l the number of bigrams. A set of one item
// scores 0: idf knows nothing about it.
struct CiderScore {
  double mean = 0;
  std::vector<double> scores;
};
using TokenLists = std::vector<std::vector<std::string>>;
CiderScore cider_d(const TokenLists& hypotheses, const TokenLists& references);

}  // namespace mose::eval
