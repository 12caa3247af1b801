// In place of image.cpp where OpenCV is not found.
#include "bench/session.h"
#include "mose/core/error.h"

namespace mose::bench {

void bench_image(Session&) { throw Error("this mose-bench was built without OpenCV, which reads and resizes pictures"); }

}  // namespace mose::bench
