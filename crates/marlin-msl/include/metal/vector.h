// Scalars and vectors: Metal Shading Language Specification, 2.1 and 2.2.
//
// A vector is a vector of the compiler, so swizzles, indices and arithmetic are the compiler's own. Comparing two
// of them gives a vector of signed integers, -1 for true: no other expression has that type here, so it is taken
// for the vector of booleans that it means (`boolean.h`).
#ifndef MARLIN_VECTOR_H
#define MARLIN_VECTOR_H

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef _Float16 half;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef uchar uint8_t;
typedef ushort uint16_t;
typedef uint uint32_t;
typedef ulong uint64_t;
typedef ulong size_t;
typedef long ptrdiff_t;

namespace marlin {

template <typename E, unsigned N>
using Vector = E __attribute__((ext_vector_type(N)));

/// The number and the type of a value's lanes.
template <typename T>
struct Shape {
    using Element = T;
    static constexpr unsigned lanes = 1;
};
template <typename E, unsigned N>
struct Shape<E __attribute__((ext_vector_type(N)))> {
    using Element = E;
    static constexpr unsigned lanes = N;
};

template <typename T>
using Element = typename Shape<T>::Element;
template <typename T>
inline constexpr unsigned lanes_of = Shape<T>::lanes;

template <typename A, typename B>
inline constexpr bool is_same = false;
template <typename A>
inline constexpr bool is_same<A, A> = true;

template <typename E>
inline constexpr bool is_floating = is_same<E, float> || is_same<E, half>;

/// Whether a vector is the compiler's own.
template <typename V>
inline constexpr bool is_builtin = false;
template <typename E, unsigned N>
inline constexpr bool is_builtin<E __attribute__((ext_vector_type(N)))> = true;

/// Whether a vector can only come from a comparison.
template <typename V>
inline constexpr bool is_comparison =
    is_builtin<V> && (is_same<Element<V>, int> || is_same<Element<V>, short> || is_same<Element<V>, char> ||
                      is_same<Element<V>, signed char> || is_same<Element<V>, long>);

template <typename I, I... i>
struct Indices {
    template <typename F>
    static auto call(F f) {
        return f(i...);
    }
};

/// Calls `f(0, 1, ... N - 1)`: loops over lanes are written out, whatever the optimizer makes of loops.
template <unsigned N, typename F>
inline auto indexed(F f) {
    return __make_integer_seq<Indices, unsigned, N>::call(f);
}

}  // namespace marlin

#define MARLIN_VECTORS(name, element)                                                                              \
    typedef element name##2 __attribute__((ext_vector_type(2)));                                                   \
    typedef element name##3 __attribute__((ext_vector_type(3)));                                                   \
    typedef element name##4 __attribute__((ext_vector_type(4)));                                                   \
    namespace metal {                                                                                              \
    using ::name##2;                                                                                               \
    using ::name##3;                                                                                               \
    using ::name##4;                                                                                               \
    }

MARLIN_VECTORS(float, float)
MARLIN_VECTORS(half, half)
MARLIN_VECTORS(uint, uint)
MARLIN_VECTORS(ushort, ushort)
MARLIN_VECTORS(uchar, uchar)
MARLIN_VECTORS(ulong, ulong)

namespace metal {
using ::half;
using ::uchar;
using ::uint;
using ::ulong;
using ::ushort;
using ::int32_t;
using ::int64_t;
using ::uint32_t;
using ::uint64_t;
}  // namespace metal

// A half literal (2.1): 1.5h.
consteval half operator""h(long double value) {
    return half(value);
}

#endif
