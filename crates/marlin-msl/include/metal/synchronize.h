// Barriers: Metal Shading Language Specification, 6.9.1.
#ifndef MARLIN_SYNCHRONIZE_H
#define MARLIN_SYNCHRONIZE_H

#include "host.h"

namespace metal {

enum class mem_flags : unsigned { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };

MARLIN_COLLECTIVE inline void threadgroup_barrier(mem_flags flags, unsigned line = __builtin_LINE()) {
    MARLIN_MEET(false, "threadgroup_barrier", unsigned(flags), nullptr, nullptr);
}
MARLIN_COLLECTIVE inline void simdgroup_barrier(mem_flags flags, unsigned line = __builtin_LINE()) {
    MARLIN_MEET(true, "simdgroup_barrier", unsigned(flags), nullptr, nullptr);
}

}  // namespace metal

#endif
