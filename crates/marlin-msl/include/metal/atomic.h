// Atomic types and functions: Metal Shading Language Specification, 2.6 and 6.15. The only memory order is relaxed.
#ifndef MARLIN_ATOMIC_H
#define MARLIN_ATOMIC_H

#include "races.h"
#include "vector.h"

namespace metal {

enum memory_order { memory_order_relaxed = __ATOMIC_RELAXED };

template <typename T>
struct atomic {
    T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;

template <typename T>
inline void atomic_store_explicit(volatile atomic<T>* at, T value, memory_order) {
    marlin::stores_atomically(&at->value, value);
    __atomic_store(&at->value, &value, __ATOMIC_RELAXED);
}
template <typename T>
inline T atomic_load_explicit(const volatile atomic<T>* at, memory_order) {
    marlin::touches_atomically(&at->value, sizeof(T), 0);
    T out;
    __atomic_load(&at->value, &out, __ATOMIC_RELAXED);
    return out;
}
template <typename T>
inline T atomic_exchange_explicit(volatile atomic<T>* at, T value, memory_order) {
    marlin::touches_atomically(&at->value, sizeof(T), marlin::writes);
    T out;
    __atomic_exchange(&at->value, &value, &out, __ATOMIC_RELAXED);
    return out;
}
template <typename T>
inline bool atomic_compare_exchange_weak_explicit(
    volatile atomic<T>* at, T* expected, T value, memory_order, memory_order) {
    marlin::touches_atomically(&at->value, sizeof(T), marlin::writes);
    return __atomic_compare_exchange(&at->value, expected, &value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

#define MARLIN_ATOMIC(name)                                                                                        \
    template <typename T>                                                                                          \
    inline T atomic_##name##_explicit(volatile atomic<T>* at, T value, memory_order) {                             \
        marlin::touches_atomically(&at->value, sizeof(T), marlin::writes);                                         \
        return __atomic_##name(&at->value, value, __ATOMIC_RELAXED);                                               \
    }

MARLIN_ATOMIC(fetch_add)
MARLIN_ATOMIC(fetch_sub)
MARLIN_ATOMIC(fetch_and)
MARLIN_ATOMIC(fetch_or)
MARLIN_ATOMIC(fetch_xor)
MARLIN_ATOMIC(fetch_min)
MARLIN_ATOMIC(fetch_max)

}  // namespace metal

#endif
