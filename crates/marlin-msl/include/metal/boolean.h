// Vectors of booleans: Metal Shading Language Specification, 2.2.
#ifndef MARLIN_BOOLEAN_H
#define MARLIN_BOOLEAN_H

#include "host.h"
#include "vector.h"

namespace marlin {

template <unsigned N>
struct Booleans;

#define MARLIN_BOOLEANS(N, ...)                                                                                    \
    template <>                                                                                                    \
    struct Booleans<N> {                                                                                           \
        bool __VA_ARGS__;                                                                                          \
        bool& operator[](unsigned lane) {                                                                          \
            if (lane >= N) undefined("a lane past the end of a vector of booleans", 0);                            \
            return (&x)[lane];                                                                                     \
        }                                                                                                          \
        bool operator[](unsigned lane) const {                                                                     \
            return const_cast<Booleans&>(*this)[lane];                                                             \
        }                                                                                                          \
        Booleans() = default;                                                                                      \
        explicit Booleans(bool all) {                                                                              \
            for (unsigned i = 0; i < N; i += 1) (*this)[i] = all;                                                  \
        }                                                                                                          \
        template <typename V, typename = typename When<is_comparison<V> && lanes_of<V> == N, V>::Type>             \
        Booleans(V compared) {                                                                                     \
            for (unsigned i = 0; i < N; i += 1) (*this)[i] = compared[i] != 0;                                     \
        }                                                                                                          \
        MARLIN_BOOLEANS_FROM_SCALARS_##N                                                                           \
    };

#define MARLIN_BOOLEANS_FROM_SCALARS_2 Booleans(bool x, bool y) : x(x), y(y) {}
#define MARLIN_BOOLEANS_FROM_SCALARS_3 Booleans(bool x, bool y, bool z) : x(x), y(y), z(z) {}
#define MARLIN_BOOLEANS_FROM_SCALARS_4 Booleans(bool x, bool y, bool z, bool w) : x(x), y(y), z(z), w(w) {}

MARLIN_BOOLEANS(2, x, y)
MARLIN_BOOLEANS(3, x, y, z)
MARLIN_BOOLEANS(4, x, y, z, w)

template <unsigned N>
struct Shape<Booleans<N>> {
    using Element = bool;
    static constexpr unsigned lanes = N;
};

#define MARLIN_BOOLEAN_OPERATOR(op)                                                                                \
    template <unsigned N>                                                                                          \
    Booleans<N> operator op(Booleans<N> a, Booleans<N> b) {                                                        \
        Booleans<N> out;                                                                                           \
        for (unsigned i = 0; i < N; i += 1) out[i] = bool(a[i] op b[i]);                                           \
        return out;                                                                                                \
    }

MARLIN_BOOLEAN_OPERATOR(&)
MARLIN_BOOLEAN_OPERATOR(|)
MARLIN_BOOLEAN_OPERATOR(^)
MARLIN_BOOLEAN_OPERATOR(&&)
MARLIN_BOOLEAN_OPERATOR(||)
MARLIN_BOOLEAN_OPERATOR(==)
MARLIN_BOOLEAN_OPERATOR(!=)

template <unsigned N>
Booleans<N> operator!(Booleans<N> a) {
    Booleans<N> out;
    for (unsigned i = 0; i < N; i += 1) out[i] = !a[i];
    return out;
}

/// What a comparison of values of this type gives.
template <typename T>
struct Compared {
    using Type = Booleans<lanes_of<T>>;
};
template <typename T>
    requires(lanes_of<T> == 1)
struct Compared<T> {
    using Type = bool;
};

}  // namespace marlin

typedef marlin::Booleans<2> bool2;
typedef marlin::Booleans<3> bool3;
typedef marlin::Booleans<4> bool4;

namespace metal {
using ::bool2;
using ::bool3;
using ::bool4;
}  // namespace metal

#endif
