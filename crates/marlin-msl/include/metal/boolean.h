// Vectors of booleans: Metal Shading Language Specification, 2.2.
#ifndef MARLIN_BOOLEAN_H
#define MARLIN_BOOLEAN_H

#include "host.h"
#include "vector.h"

namespace marlin {

template <unsigned N>
struct Booleans;

#define MARLIN_BOOLEANS(N, each, from_scalars, from_one, from_compared)                                            \
    template <>                                                                                                    \
    struct Booleans<N> {                                                                                           \
        bool each;                                                                                                 \
        Booleans() = default;                                                                                      \
        explicit Booleans(bool all) : from_one {}                                                                  \
        from_scalars {}                                                                                            \
        template <typename V>                                                                                      \
            requires(is_comparison<V> && lanes_of<V> == N)                                                         \
        Booleans(V compared) : from_compared {}                                                                    \
        bool& operator[](unsigned lane) {                                                                          \
            if (lane >= N) undefined("a lane past the end of a vector of booleans", 0);                            \
            return (&x)[lane];                                                                                     \
        }                                                                                                          \
        bool operator[](unsigned lane) const { return const_cast<Booleans&>(*this)[lane]; }                        \
    };
#define MARLIN_LIST(...) __VA_ARGS__

MARLIN_BOOLEANS(2, MARLIN_LIST(x, y), Booleans(bool x, bool y) MARLIN_LIST( : x(x), y(y)),
                MARLIN_LIST(x(all), y(all)), MARLIN_LIST(x(compared.x), y(compared.y)))
MARLIN_BOOLEANS(3, MARLIN_LIST(x, y, z), Booleans(bool x, bool y, bool z) MARLIN_LIST( : x(x), y(y), z(z)),
                MARLIN_LIST(x(all), y(all), z(all)), MARLIN_LIST(x(compared.x), y(compared.y), z(compared.z)))
MARLIN_BOOLEANS(4, MARLIN_LIST(x, y, z, w),
                Booleans(bool x, bool y, bool z, bool w) MARLIN_LIST( : x(x), y(y), z(z), w(w)),
                MARLIN_LIST(x(all), y(all), z(all), w(all)),
                MARLIN_LIST(x(compared.x), y(compared.y), z(compared.z), w(compared.w)))

template <unsigned N>
struct Shape<Booleans<N>> {
    using Element = bool;
    static constexpr unsigned lanes = N;
};

#define MARLIN_BOOLEAN_OPERATOR(op)                                                                                \
    template <unsigned N>                                                                                          \
    inline Booleans<N> operator op(Booleans<N> a, Booleans<N> b) {                                                 \
        return indexed<N>([&](auto... i) { return Booleans<N>(bool(a[i] op b[i])...); });                          \
    }

MARLIN_BOOLEAN_OPERATOR(&)
MARLIN_BOOLEAN_OPERATOR(|)
MARLIN_BOOLEAN_OPERATOR(^)
MARLIN_BOOLEAN_OPERATOR(&&)
MARLIN_BOOLEAN_OPERATOR(||)
MARLIN_BOOLEAN_OPERATOR(==)
MARLIN_BOOLEAN_OPERATOR(!=)

template <unsigned N>
inline Booleans<N> operator!(Booleans<N> a) {
    return indexed<N>([&](auto... i) { return Booleans<N>(!a[i]...); });
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
