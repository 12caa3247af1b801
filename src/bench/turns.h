// What one turn saves: a scene's description, reasoning and plan as one answer, against a question a task.
#pragma once

#include "bench/session.h"

namespace mose::bench {

void compare_turns(Session& session);

}  // namespace mose::bench
