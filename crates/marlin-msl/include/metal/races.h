// In the build for races the compiler calls a function before each access to memory that another thread may see:
// the interface of its own sanitizer for threads, answered here by the host.
#ifndef MARLIN_RACES_H
#define MARLIN_RACES_H

#include "host.h"

#ifdef MARLIN_RACES

#define MARLIN_ACCESS(name, bytes, kind)                                                                           \
    extern "C" MARLIN_UNSEEN void name(void* at) {                                                                 \
        marlin::host->access(at, bytes, kind, __builtin_return_address(0));                                        \
    }
#define MARLIN_ACCESSES(bytes)                                                                                     \
    MARLIN_ACCESS(__tsan_read##bytes, bytes, 0)                                                                    \
    MARLIN_ACCESS(__tsan_write##bytes, bytes, marlin::writes)                                                      \
    MARLIN_ACCESS(__tsan_unaligned_read##bytes, bytes, 0)                                                          \
    MARLIN_ACCESS(__tsan_unaligned_write##bytes, bytes, marlin::writes)

MARLIN_ACCESSES(1)
MARLIN_ACCESSES(2)
MARLIN_ACCESSES(4)
MARLIN_ACCESSES(8)
MARLIN_ACCESSES(16)

extern "C" MARLIN_UNSEEN void __tsan_init() {}

extern "C" MARLIN_UNSEEN void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
    marlin::host->access(from, bytes, marlin::copies, __builtin_return_address(0));
    marlin::host->access(to, bytes, marlin::writes | marlin::copies, __builtin_return_address(0));
    return __builtin_memcpy(to, from, bytes);
}
extern "C" MARLIN_UNSEEN void* __tsan_memmove(void* to, const void* from, unsigned long bytes) {
    marlin::host->access(from, bytes, marlin::copies, __builtin_return_address(0));
    marlin::host->access(to, bytes, marlin::writes | marlin::copies, __builtin_return_address(0));
    return __builtin_memmove(to, from, bytes);
}
extern "C" MARLIN_UNSEEN void* __tsan_memset(void* to, int byte, unsigned long bytes) {
    marlin::host->access(to, bytes, marlin::writes | marlin::copies, __builtin_return_address(0));
    return __builtin_memset(to, byte, bytes);
}

#endif

namespace marlin {

/// The sanitizer leaves atomics alone, so they say what they touch themselves.
#ifdef MARLIN_RACES
MARLIN_UNSEEN inline void touches_atomically(const volatile void* at, unsigned bytes, unsigned kind) {
    host->access((const void*)at, bytes, kind | atomically, __builtin_return_address(0));
}
template <typename T>
MARLIN_UNSEEN inline void stores_atomically(const volatile T* at, T value) {
    const T old = *at;
    const unsigned kind = writes | atomically | stores;
    const bool same = __builtin_memcmp(&old, &value, sizeof(T)) == 0;
    host->access((const void*)at, sizeof(T), same ? kind : kind | replaces, __builtin_return_address(0));
}
#else
inline void touches_atomically(const volatile void*, unsigned, unsigned) {}
template <typename T>
inline void stores_atomically(const volatile T*, T) {}
#endif

}  // namespace marlin

#endif
