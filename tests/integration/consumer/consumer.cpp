// Uses the config and the CODA-LM folders of an installed mose.
#include <iostream>

#include "mose/coda/annotation.h"
#include "mose/core/config.h"

namespace {

struct Config {
  double dropout = 0;
  void visit(mose::FieldVisitor& v) { v.field("dropout", dropout, "drop probability", 0, 1); }
};

}  // namespace

int main() {
  const auto config = mose::load_config<Config>({}, {"dropout=0.25"});
  std::cout << config.dropout << " " << mose::coda::region_class("pedestrian") << "\n";
}
