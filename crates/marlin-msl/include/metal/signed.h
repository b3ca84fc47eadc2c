// Vectors of signed integers: Metal Shading Language Specification, 2.2. They are classes, because a compiler's own
// vector of signed integers is what a comparison gives (`vector.h`); so they have no swizzles.
#ifndef MARLIN_SIGNED_H
#define MARLIN_SIGNED_H

#include "boolean.h"

namespace marlin {

template <typename E, unsigned N>
struct Signed;

#define MARLIN_SIGNED(N, size, each, from_scalars, from_one)                                                       \
    template <typename E>                                                                                          \
    struct alignas(size * sizeof(E)) Signed<E, N> {                                                                \
        E each;                                                                                                    \
        Signed() = default;                                                                                        \
        Signed(E all) : from_one {}                                                                                \
        from_scalars {}                                                                                            \
        E& operator[](unsigned lane) {                                                                             \
            if (lane >= N) undefined("a lane past the end of a vector of signed integers", 0);                     \
            return (&x)[lane];                                                                                     \
        }                                                                                                          \
        E operator[](unsigned lane) const { return const_cast<Signed&>(*this)[lane]; }                             \
    };

MARLIN_SIGNED(2, 2, MARLIN_LIST(x, y), Signed(E x, E y) MARLIN_LIST( : x(x), y(y)), MARLIN_LIST(x(all), y(all)))
MARLIN_SIGNED(3, 4, MARLIN_LIST(x, y, z), Signed(E x, E y, E z) MARLIN_LIST( : x(x), y(y), z(z)),
              MARLIN_LIST(x(all), y(all), z(all)))
MARLIN_SIGNED(4, 4, MARLIN_LIST(x, y, z, w), Signed(E x, E y, E z, E w) MARLIN_LIST( : x(x), y(y), z(z), w(w)),
              MARLIN_LIST(x(all), y(all), z(all), w(all)))

template <typename E, unsigned N>
struct Shape<Signed<E, N>> {
    using Element = E;
    static constexpr unsigned lanes = N;
};

template <typename T>
struct Same {
    using Type = T;
};

// The second of each three takes a scalar on the right, the third on the left.
#define MARLIN_SIGNED_OPERATOR(op, Result)                                                                         \
    template <typename E, unsigned N>                                                                              \
    inline Result operator op(Signed<E, N> a, Signed<E, N> b) {                                                    \
        return indexed<N>([&](auto... i) { return Result((a[i] op b[i])...); });                                   \
    }                                                                                                              \
    template <typename E, unsigned N>                                                                              \
    inline Result operator op(Signed<E, N> a, typename Same<E>::Type b) {                                          \
        return a op Signed<E, N>(b);                                                                               \
    }                                                                                                              \
    template <typename E, unsigned N>                                                                              \
    inline Result operator op(typename Same<E>::Type a, Signed<E, N> b) {                                          \
        return Signed<E, N>(a) op b;                                                                               \
    }

MARLIN_SIGNED_OPERATOR(+, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(-, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(*, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(/, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(%, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(&, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(|, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(^, MARLIN_LIST(Signed<E, N>))
MARLIN_SIGNED_OPERATOR(<, Booleans<N>)
MARLIN_SIGNED_OPERATOR(<=, Booleans<N>)
MARLIN_SIGNED_OPERATOR(>, Booleans<N>)
MARLIN_SIGNED_OPERATOR(>=, Booleans<N>)
MARLIN_SIGNED_OPERATOR(==, Booleans<N>)
MARLIN_SIGNED_OPERATOR(!=, Booleans<N>)

/// A shift's right side is a vector of unsigned integers, as naga writes it.
#define MARLIN_SIGNED_SHIFT(op)                                                                                    \
    template <typename E, unsigned N>                                                                              \
    inline Signed<E, N> operator op(Signed<E, N> a, Vector<unsigned, N> by) {                                      \
        return indexed<N>([&](auto... i) { return Signed<E, N>((a[i] op by[i])...); });                            \
    }
MARLIN_SIGNED_SHIFT(<<)
MARLIN_SIGNED_SHIFT(>>)

template <typename E, unsigned N>
inline Signed<E, N> operator-(Signed<E, N> a) {
    return E(0) - a;
}
template <typename E, unsigned N>
inline Signed<E, N> operator~(Signed<E, N> a) {
    return a ^ E(-1);
}

}  // namespace marlin

#define MARLIN_SIGNED_VECTORS(name, element)                                                                       \
    typedef marlin::Signed<element, 2> name##2;                                                                    \
    typedef marlin::Signed<element, 3> name##3;                                                                    \
    typedef marlin::Signed<element, 4> name##4;                                                                    \
    namespace metal {                                                                                              \
    using ::name##2;                                                                                               \
    using ::name##3;                                                                                               \
    using ::name##4;                                                                                               \
    }

MARLIN_SIGNED_VECTORS(int, int)
MARLIN_SIGNED_VECTORS(short, short)
MARLIN_SIGNED_VECTORS(char, char)
MARLIN_SIGNED_VECTORS(long, long)

#endif
