// Constructors, conversions and reinterpretation: Metal Shading Language Specification, 2.2.1 (constructors), 2.12
// (implicit conversions) and 2.13 (`as_type`).
#ifndef MARLIN_CONVERT_H
#define MARLIN_CONVERT_H

#include "signed.h"

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
        if constexpr (!is_builtin<To> || is_same<Element<From>, bool>) {
            return indexed<lanes_of<To>>([&](auto... i) { return To{E(from[i])...}; });
        } else if constexpr (!is_builtin<From>) {
            return convert<To>(indexed<lanes_of<To>>([&](auto... i) {
                return __builtin_convertvector((Vector<Element<From>, lanes_of<From>>{from[i]...}), To);
            }));
        } else if constexpr (is_comparison<From>) {
            return __builtin_convertvector(from & 1, To);
        } else {
            return __builtin_convertvector(from, To);
        }
    }
}

/// The lanes of all arguments, one after the other; they have the vector's element type, or all are scalars.
template <typename V, typename... A>
inline V construct(A... each) {
    using E = Element<V>;
    if constexpr (sizeof...(A) == 1) {
        return convert<V>(each...);
    } else if constexpr (sizeof...(A) == lanes_of<V> && ((lanes_of<A> == 1) && ...)) {
        return V{(E)each...};
    } else if constexpr ((lanes_of<A> + ...) == lanes_of<V> && (is_same<Element<A>, E> && ...)) {
        V out;
        unsigned at = 0;
        const auto put = [&](auto part) {
            if constexpr (lanes_of<decltype(part)> == 1) {
                out[at++] = part;
            } else {
                indexed<lanes_of<decltype(part)>>([&](auto... i) { ((out[at++] = part[i]), ...); });
            }
        };
        (put(each), ...);
        return out;
    } else {
        static_assert(lanes_of<V> == 0, "no constructor takes these");
    }
}

}  // namespace marlin

#define MARLIN_CONSTRUCTOR(type)                                                                                   \
    template <typename... A>                                                                                       \
    inline type make_##type(A... a) {                                                                              \
        return marlin::construct<type>(a...);                                                                \
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
MARLIN_CONSTRUCTORS(int)
MARLIN_CONSTRUCTORS(short)
MARLIN_CONSTRUCTORS(char)
MARLIN_CONSTRUCTORS(long)

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
