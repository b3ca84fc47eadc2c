// Matrices of columns: Metal Shading Language Specification, 2.3.
#ifndef MARLIN_MATRIX_H
#define MARLIN_MATRIX_H

#include "math.h"

namespace marlin {

template <typename E, unsigned C, unsigned R>
struct Matrix {
    using Column = Vector<E, R>;
    Column columns[C];

    Matrix() = default;
    /// The diagonal (2.3.2).
    explicit Matrix(E diagonal) : columns{} {
        for (unsigned i = 0; i < (C < R ? C : R); i += 1) columns[i][i] = diagonal;
    }
    template <typename... A>
        requires(sizeof...(A) == C && (is_same<A, Column> && ...))
    Matrix(A... each) : columns{each...} {}

    Column& operator[](unsigned column) { return columns[column]; }
    const Column& operator[](unsigned column) const { return columns[column]; }
};

#define MARLIN_MATRIX_OPERATOR(op)                                                                                 \
    template <typename E, unsigned C, unsigned R>                                                                  \
    inline Matrix<E, C, R> operator op(const Matrix<E, C, R>& a, const Matrix<E, C, R>& b) {                       \
        Matrix<E, C, R> out;                                                                                       \
        for (unsigned i = 0; i < C; i += 1) out[i] = a[i] op b[i];                                                 \
        return out;                                                                                                \
    }

MARLIN_MATRIX_OPERATOR(+)
MARLIN_MATRIX_OPERATOR(-)

template <typename E, unsigned C, unsigned R>
inline Matrix<E, C, R> operator*(const Matrix<E, C, R>& a, E scale) {
    Matrix<E, C, R> out;
    for (unsigned i = 0; i < C; i += 1) out[i] = a[i] * scale;
    return out;
}
template <typename E, unsigned C, unsigned R>
inline Matrix<E, C, R> operator*(E scale, const Matrix<E, C, R>& a) {
    return a * scale;
}
template <typename E, unsigned C, unsigned R>
inline Vector<E, R> operator*(const Matrix<E, C, R>& a, Vector<E, C> x) {
    Vector<E, R> sum = a[0] * x[0];
    for (unsigned i = 1; i < C; i += 1) sum = metal::fma(a[i], Vector<E, R>(x[i]), sum);
    return sum;
}
template <typename E, unsigned C, unsigned R>
inline Vector<E, C> operator*(Vector<E, R> x, const Matrix<E, C, R>& a) {
    Vector<E, C> out;
    for (unsigned i = 0; i < C; i += 1) out[i] = metal::dot(x, a[i]);
    return out;
}
template <typename E, unsigned C, unsigned K, unsigned R>
inline Matrix<E, C, R> operator*(const Matrix<E, K, R>& a, const Matrix<E, C, K>& b) {
    Matrix<E, C, R> out;
    for (unsigned i = 0; i < C; i += 1) out[i] = a * b[i];
    return out;
}

}  // namespace marlin

namespace metal {

template <typename E, unsigned C, unsigned R>
inline marlin::Matrix<E, R, C> transpose(const marlin::Matrix<E, C, R>& a) {
    marlin::Matrix<E, R, C> out;
    for (unsigned i = 0; i < C; i += 1)
        for (unsigned j = 0; j < R; j += 1) out[j][i] = a[i][j];
    return out;
}

}  // namespace metal

#define MARLIN_MATRICES_OF(name, element, C)                                                                       \
    typedef marlin::Matrix<element, C, 2> name##C##x2;                                                             \
    typedef marlin::Matrix<element, C, 3> name##C##x3;                                                             \
    typedef marlin::Matrix<element, C, 4> name##C##x4;                                                             \
    namespace metal {                                                                                              \
    using ::name##C##x2;                                                                                           \
    using ::name##C##x3;                                                                                           \
    using ::name##C##x4;                                                                                           \
    }

MARLIN_MATRICES_OF(float, float, 2)
MARLIN_MATRICES_OF(float, float, 3)
MARLIN_MATRICES_OF(float, float, 4)
MARLIN_MATRICES_OF(half, half, 2)
MARLIN_MATRICES_OF(half, half, 3)
MARLIN_MATRICES_OF(half, half, 4)

#endif
