// Timing by turns, so that whatever else the machine does meets both sides alike.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace mose::bench {

// Does the work once and returns the seconds it took, whatever belongs to it alone.
using Work = std::function<double()>;

double wall_seconds(const std::function<void()>& work);
double cpu_seconds(const std::function<void()>& work);  // of all threads of this process

double median(std::vector<double> values);  // Error when there is none

// Medians in seconds.
struct Timing {
  double ours = 0;            // over both series of ours
  double noise = 0;           // |difference of our two series' medians| / ours
  std::vector<double> peers;  // as they were given
};

// Every side once unmeasured, then `repetitions` rounds of: ours, half of the peers, ours again, the
// other half (a single peer after both). `again` does the same work as `ours`. Interrupted after a signal.
Timing time_by_turns(const Work& ours, const Work& again, const std::vector<Work>& peers, int64_t repetitions);

}  // namespace mose::bench
