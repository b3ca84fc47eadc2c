// Constructors, conversions and reinterpretation: Metal Shading Language Specification, 2.2.1 (constructors), 2.12
// (implicit conversions) and 2.13 (`as_type`).
#ifndef MARLIN_CONVERT_H
#define MARLIN_CONVERT_H

#include "boolean.h"

namespace marlin {

template <typename To, typename From>
inline To convert(From from) {
    using E = Element<To>;
    if constexpr (is_same<To, From>) {
        return from;
    } else if constexpr (lanes_of<To> == 1) {
        static_assert(lanes_of<From> == 1, "a vector is no scalar");
        return (To)from;
    } else if constexpr (lanes_of<From> == 1) {
        return To((E)from);
    } else {
        static_assert(lanes_of<To> == lanes_of<From>, "vectors of different lengths");
        if constexpr (is_same<E, bool>) {
            To out;
            for (unsigned i = 0; i < lanes_of<To>; i += 1) out[i] = bool(from[i]);
            return out;
        } else if constexpr (is_same<Element<From>, bool>) {
            To out;
            for (unsigned i = 0; i < lanes_of<To>; i += 1) out[i] = E(from[i]);
            return out;
        } else if constexpr (is_comparison<From>) {
            return __builtin_convertvector(from & 1, To);
        } else {
            return __builtin_convertvector(from, To);
        }
    }
}

template <typename V>
struct Construct {
    using E = Element<V>;
    template <unsigned N>
    using Part = Vector<E, N>;

    template <typename A>
    static V from(A all) {
        return convert<V>(all);
    }
    template <typename... A>
        requires(sizeof...(A) > 1 && sizeof...(A) == lanes_of<V> && ((lanes_of<A> == 1) && ...))
    static V from(A... each) {
        return V{(E)each...};
    }
    static V from(Part<2> a, E z) requires(lanes_of<V> == 3) { return V{a.x, a.y, z}; }
    static V from(E x, Part<2> b) requires(lanes_of<V> == 3) { return V{x, b.x, b.y}; }
    static V from(Part<2> a, Part<2> b) requires(lanes_of<V> == 4) { return V{a.x, a.y, b.x, b.y}; }
    static V from(Part<3> a, E w) requires(lanes_of<V> == 4) { return V{a.x, a.y, a.z, w}; }
    static V from(E x, Part<3> b) requires(lanes_of<V> == 4) { return V{x, b.x, b.y, b.z}; }
    static V from(Part<2> a, E z, E w) requires(lanes_of<V> == 4) { return V{a.x, a.y, z, w}; }
    static V from(E x, Part<2> b, E w) requires(lanes_of<V> == 4) { return V{x, b.x, b.y, w}; }
    static V from(E x, E y, Part<2> c) requires(lanes_of<V> == 4) { return V{x, y, c.x, c.y}; }
};

}  // namespace marlin

#define MARLIN_CONSTRUCTOR(type)                                                                                   \
    template <typename... A>                                                                                       \
    inline type make_##type(A... a) {                                                                              \
        return marlin::Construct<type>::from(a...);                                                                \
    }                                                                                                              \
    namespace metal {                                                                                              \
    using ::make_##type;                                                                                           \
    }
#define MARLIN_CONSTRUCTORS(name)                                                                                  \
    MARLIN_CONSTRUCTOR(name##2)                                                                                    \
    MARLIN_CONSTRUCTOR(name##3)                                                                                    \
    MARLIN_CONSTRUCTOR(name##4)

MARLIN_CONSTRUCTORS(float)
MARLIN_CONSTRUCTORS(half)
MARLIN_CONSTRUCTORS(uint)
MARLIN_CONSTRUCTORS(ushort)
MARLIN_CONSTRUCTORS(uchar)
MARLIN_CONSTRUCTORS(ulong)

/// Stands for `static_cast`, which the compiler does not define between vectors of different elements.
template <typename To, typename From>
inline To metal_static_cast(From from) {
    return marlin::convert<To>(from);
}

template <typename To, typename From>
inline To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From), "as_type between types of different sizes");
    return __builtin_bit_cast(To, from);
}

namespace metal {
using ::as_type;
}

#endif
