#include <torch/version.h>

#include <algorithm>
#include <cmath>

#include "mose/bench/benchmarks.h"
#include "mose/bench/machine.h"
#include "mose/core/program.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

const std::vector<std::string> kHeads = {"work", "shape", "peer", "ours ms", "peer ms", "ratio", "noise", "limit share", "more"};

double rounded(double value, double digits) { return std::round(value * digits) / digits; }

// "threads 2, tokens_per_second 940.1": what the columns do not say.
std::string rest_of(const Row& row) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : row.more.items()) {
    parts.push_back(str(replace_all(key, "_", " "), " ", value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return join(parts, ", ");
}

std::vector<std::vector<std::string>> cells(const Report& report) {
  std::vector<std::vector<std::string>> out;
  for (const Row& row : report.rows) {
    out.push_back({row.name, row.shape, row.peer, fixed(row.ours_ms, 2), fixed(row.peer_ms, 2), fixed(row.ratio(), 2),
                   fixed(100 * row.noise, 1) + " %", row.limit_share ? fixed(100 * *row.limit_share, 0) + " %" : "–", rest_of(row)});
  }
  return out;
}

}  // namespace

Json to_json(const Report& report) {
  Json list = Json::array();
  for (const Row& row : report.rows) {
    Json item = {{"name", row.name}, {"shape", row.shape}, {"peer", row.peer}, {"ours_ms", rounded(row.ours_ms, 1e4)},
                 {"peer_ms", rounded(row.peer_ms, 1e4)}, {"ratio", rounded(row.ratio(), 1e3)}, {"noise", rounded(row.noise, 1e4)},
                 {"limit_share", row.limit_share ? Json(rounded(*row.limit_share, 1e3)) : Json()}};
    item.update(row.more);
    list.push_back(std::move(item));
  }
  return list;
}

std::string table(const Report& report) {
  const auto rows = cells(report);
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    for (size_t c = 0; c + 1 < kHeads.size(); ++c) {
      size_t width = kHeads[c].size();
      for (const auto& other : rows) width = std::max(width, other[c].size());
      const std::string gap(width - row[c].size(), ' ');
      out += c < 3 ? row[c] + gap + "  " : gap + row[c] + "  ";  // words to the left, numbers to the right
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += "\n";
  };
  line(kHeads);
  for (const auto& row : rows) line(row);
  for (const Missing& m : report.missing) out += str("not compared: ", m.name, m.peer.empty() ? "" : ", " + m.peer, ": ", m.reason, "\n");
  return out;
}

std::string markdown(const Report& report, const Options& options, const std::string& command) {
  std::string out = "# Ours and the peers' side by side\n\n";
  out += str("- Command: `", command, "`\n- Machine: ", cpu_name(), report.device.empty() ? "" : "; rows named gpu on " + report.device, "; load averages at the end ", system_load(), "\n- Versions: mose ",
             version(), ", LibTorch " TORCH_VERSION, report.versions.empty() ? "" : "; peers: ", join(report.versions, ", "), "\n");
  out += str("- Medians of ", options.repetitions,
             " rounds by turns (ours, peers, ours again, peers; of works that take seconds 3 or 5), results checked before timing; ratio is the peer's time "
             "over ours; noise is how far our two series are apart; limit share is the time that the machine's measured "
             "limit (see `limit` of the row) would take, over ours\n\n");
  const auto line = [&](const std::vector<std::string>& row) { out += "| " + join(row, " | ") + " |\n"; };
  line(kHeads);
  out += "|---|---|---|---:|---:|---:|---:|---:|---|\n";
  for (const auto& row : cells(report)) line(row);
  if (!report.missing.empty()) out += str("\nNot compared: ", report.missing.size(), "\n\n");
  for (const Missing& m : report.missing) out += str("- ", m.name, m.peer.empty() ? "" : ", " + m.peer, ": ", m.reason, "\n");
  return out;
}

}  // namespace mose::bench
