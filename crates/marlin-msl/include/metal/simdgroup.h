// SIMD-group functions: Metal Shading Language Specification, 6.9.2. Lanes that have returned take no part; to read
// from one is undefined, and said so.
#ifndef MARLIN_SIMDGROUP_H
#define MARLIN_SIMDGROUP_H

#include "math.h"
#include "synchronize.h"

namespace marlin {

/// What a lane brings to a meeting, and what it takes home.
template <typename T>
struct Exchange {
    T in;
    uint argument;
    T out;
};

template <typename T>
inline Exchange<T>* lane_of(Lanes records, uint lane) {
    return (Exchange<T>*)records[lane];
}

/// Combines all lanes pairwise, as a tree, and hands every lane the result.
template <typename T, typename F>
inline const char* reduce(Lanes records, uint lanes, F f) {
    T values[128];
    uint count = 0;
    for (uint i = 0; i < lanes; i += 1)
        if (records[i]) values[count++] = lane_of<T>(records, i)->in;
    while (count > 1) {
        const uint half_of = (count + 1) / 2;
        for (uint i = 0; i + half_of < count; i += 1) values[i] = f(values[i], values[i + half_of]);
        count = half_of;
    }
    for (uint i = 0; i < lanes; i += 1)
        if (records[i]) lane_of<T>(records, i)->out = values[0];
    return nullptr;
}

template <typename T, typename F>
inline const char* prefix(Lanes records, uint lanes, T first, bool inclusive, F f) {
    T sum = first;
    for (uint i = 0; i < lanes; i += 1) {
        if (!records[i]) continue;
        const T next = f(sum, lane_of<T>(records, i)->in);
        lane_of<T>(records, i)->out = inclusive ? next : sum;
        sum = next;
    }
    return nullptr;
}

/// Hands every lane the value of the lane that `from` names.
template <typename T, typename F>
inline const char* gather(Lanes records, uint lanes, F from) {
    for (uint i = 0; i < lanes; i += 1) {
        if (!records[i]) continue;
        const uint other = from(i, lane_of<T>(records, i)->argument);
        if (other >= lanes) return "reads a lane past the end of the simdgroup";
        if (!records[other]) return "reads a lane that has returned";
        lane_of<T>(records, i)->out = lane_of<T>(records, other)->in;
    }
    return nullptr;
}

template <typename T>
inline const char* same_argument(Lanes records, uint lanes) {
    const Exchange<T>* first = nullptr;
    for (uint i = 0; i < lanes; i += 1) {
        if (!records[i]) continue;
        if (!first) first = lane_of<T>(records, i);
        if (lane_of<T>(records, i)->argument != first->argument) return "lanes name different lanes";
    }
    return nullptr;
}

}  // namespace marlin

namespace metal {

#define MARLIN_SIMD(name, parameters, brings, ...)                                                                 \
    template <typename T>                                                                                          \
    MARLIN_COLLECTIVE inline T name parameters {                                                                   \
        marlin::Exchange<T> exchange brings;                                                                       \
        MARLIN_MEET(true, #name, 0, &exchange, [](marlin::Lanes records, uint lanes) -> const char* {              \
            __VA_ARGS__;                                                                                           \
        });                                                                                                        \
        return exchange.out;                                                                                       \
    }
#define MARLIN_SIMD_REDUCE(name, expression)                                                                       \
    MARLIN_SIMD(name, (T x, uint line = __builtin_LINE()), ({x, 0, x}),                                            \
                return marlin::reduce<T>(records, lanes, [](T a, T b) -> T { return expression; }))
#define MARLIN_SIMD_PREFIX(name, first, inclusive, expression)                                                     \
    MARLIN_SIMD(name, (T x, uint line = __builtin_LINE()), ({x, 0, x}),                                            \
                return marlin::prefix<T>(records, lanes, T(first), inclusive, [](T a, T b) -> T {                  \
                    return expression;                                                                             \
                }))
#define MARLIN_SIMD_GATHER(name, from)                                                                             \
    MARLIN_SIMD(name, (T x, ushort argument, uint line = __builtin_LINE()), ({x, argument, x}),                    \
                return marlin::gather<T>(records, lanes, [](uint lane, uint argument) -> uint { return from; }))

MARLIN_SIMD_REDUCE(simd_sum, a + b)
MARLIN_SIMD_REDUCE(simd_product, a* b)
MARLIN_SIMD_REDUCE(simd_min, min(a, b))
MARLIN_SIMD_REDUCE(simd_max, max(a, b))
MARLIN_SIMD_REDUCE(simd_and, a& b)
MARLIN_SIMD_REDUCE(simd_or, a | b)
MARLIN_SIMD_REDUCE(simd_xor, a ^ b)

MARLIN_SIMD_PREFIX(simd_prefix_exclusive_sum, 0, false, a + b)
MARLIN_SIMD_PREFIX(simd_prefix_inclusive_sum, 0, true, a + b)
MARLIN_SIMD_PREFIX(simd_prefix_exclusive_product, 1, false, a* b)
MARLIN_SIMD_PREFIX(simd_prefix_inclusive_product, 1, true, a* b)

MARLIN_SIMD_GATHER(simd_shuffle, argument)
MARLIN_SIMD_GATHER(simd_shuffle_xor, lane ^ argument)
MARLIN_SIMD_GATHER(simd_shuffle_up, lane >= argument ? lane - argument : lane)
MARLIN_SIMD_GATHER(simd_shuffle_down, lane + argument)
MARLIN_SIMD(simd_broadcast, (T x, ushort argument, uint line = __builtin_LINE()), ({x, argument, x}),
            if (const char* fault = marlin::same_argument<T>(records, lanes)) return fault;
            return marlin::gather<T>(records, lanes, [](uint, uint argument) { return argument; }))
MARLIN_SIMD(simd_broadcast_first, (T x, uint line = __builtin_LINE()), ({x, 0, x}), uint first = 0;
            while (!records[first]) first += 1;
            for (uint i = first; i < lanes; i += 1)
                if (records[i]) marlin::lane_of<T>(records, i)->out = marlin::lane_of<T>(records, first)->in;
            return nullptr)

/// A bit for each active lane (6.9.2).
class simd_vote {
    ulong bits;

  public:
    explicit simd_vote(ulong bits) : bits(bits) {}
    explicit operator ulong() const { return bits; }
};

MARLIN_COLLECTIVE inline simd_vote simd_ballot(bool x, uint line = __builtin_LINE()) {
    marlin::Exchange<ulong> exchange = {x, 0, 0};
    MARLIN_MEET(true, "simd_ballot", 0, &exchange, [](marlin::Lanes records, uint lanes) -> const char* {
        ulong bits = 0;
        for (uint i = 0; i < lanes; i += 1)
            if (records[i]) bits |= marlin::lane_of<ulong>(records, i)->in << i;
        for (uint i = 0; i < lanes; i += 1)
            if (records[i]) marlin::lane_of<ulong>(records, i)->out = bits;
        return nullptr;
    });
    return simd_vote(exchange.out);
}
MARLIN_COLLECTIVE inline bool simd_any(bool x, uint line = __builtin_LINE()) {
    marlin::Exchange<bool> exchange = {x, 0, x};
    MARLIN_MEET(true, "simd_any", 0, &exchange, [](marlin::Lanes records, uint lanes) -> const char* {
        return marlin::reduce<bool>(records, lanes, [](bool a, bool b) { return a || b; });
    });
    return exchange.out;
}
MARLIN_COLLECTIVE inline bool simd_all(bool x, uint line = __builtin_LINE()) {
    marlin::Exchange<bool> exchange = {x, 0, x};
    MARLIN_MEET(true, "simd_all", 0, &exchange, [](marlin::Lanes records, uint lanes) -> const char* {
        return marlin::reduce<bool>(records, lanes, [](bool a, bool b) { return a && b; });
    });
    return exchange.out;
}

}  // namespace metal

#endif
