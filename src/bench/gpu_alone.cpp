// In mose-bench-gpu these stand before the library's own: rows for a CPU that need more than it brings, OpenCV among it.
#include "bench/session.h"
#include "mose/core/error.h"

namespace mose::bench {
namespace {

[[noreturn]] void refuse() { throw Error("mose-bench-gpu has the rows for a GPU alone; mose-bench has this one"); }

}  // namespace

void bench_machine(Session&) { refuse(); }
void bench_tokenizer(Session&) { refuse(); }
void bench_image(Session&) { refuse(); }
void bench_moe(Session&) { refuse(); }
void bench_train(Session&) { refuse(); }
void bench_startup(Session&) { refuse(); }
void bench_evaluate(Session&) { refuse(); }
void bench_router(Session&) { refuse(); }
void bench_packed(Session&) { refuse(); }
void bench_growth(Session&) { refuse(); }
void bench_claims(Session&) { refuse(); }
void bench_trainer(Session&) { refuse(); }

}  // namespace mose::bench
