// SIMD-group matrices of 8x8: Metal Shading Language Specification, 2.4 and 6.7.
//
// The 64 elements are spread over 32 lanes, two for each; which lane holds which is not specified there. Here lane
// l holds row l / 4, columns 2 (l mod 4) and the next.
#ifndef MARLIN_SIMDGROUP_MATRIX_H
#define MARLIN_SIMDGROUP_MATRIX_H

#include "simdgroup.h"

namespace metal {

template <typename T, int Columns, int Rows>
struct simdgroup_matrix;

template <typename T>
struct simdgroup_matrix<T, 8, 8> {
    T own[2];
};

typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;

}  // namespace metal

namespace marlin {

struct Access {
    const void* memory;
    ulong stride;
    ulong x;
    ulong y;
    bool transposed;
    uint lane;
};

inline const char* all_lanes(Lanes records, uint lanes) {
    if (lanes != 32) return "a simdgroup_matrix needs a simdgroup of 32";
    for (uint i = 0; i < lanes; i += 1)
        if (!records[i]) return "a simdgroup_matrix needs all lanes, one has returned";
    return nullptr;
}

/// All lanes must ask for the same tile; each is told which lane it is.
inline const char* same_tile(Lanes records, uint lanes) {
    if (const char* fault = all_lanes(records, lanes)) return fault;
    const Access* first = (const Access*)records[0];
    for (uint i = 0; i < lanes; i += 1) {
        Access* own = (Access*)records[i];
        if (own->memory != first->memory) return "lanes give different addresses";
        if (own->stride != first->stride || own->x != first->x || own->y != first->y) {
            return "lanes give different strides or origins";
        }
        if (own->transposed != first->transposed) return "lanes disagree on the transposition";
        own->lane = i;
    }
    return nullptr;
}

/// Where element `i` of a lane lies, in elements: rows of the matrix are rows of memory unless transposed.
inline ulong place(const Access& access, uint i) {
    const ulong row = access.lane / 4, column = 2 * (access.lane % 4) + i;
    return access.transposed ? (access.y + column) * access.stride + access.x + row
                             : (access.y + row) * access.stride + access.x + column;
}

struct Product {
    const void* a;
    const void* b;
    const void* c;
    void* d;
};

template <typename T>
inline void collect(Lanes records, const void* Product::* which, float out[8][8]) {
    for (uint lane = 0; lane < 32; lane += 1) {
        const T* own = (const T*)(((const Product*)records[lane])->*which);
        for (uint i = 0; i < 2; i += 1) out[lane / 4][2 * (lane % 4) + i] = float(own[i]);
    }
}

/// d = a b + c, sums in f32 in the order of k.
template <typename D, typename A, typename B, typename C>
inline const char* multiply(Lanes records, uint lanes) {
    if (const char* fault = all_lanes(records, lanes)) return fault;
    float a[8][8], b[8][8], sums[8][8] = {};
    collect<A>(records, &Product::a, a);
    collect<B>(records, &Product::b, b);
    if (((const Product*)records[0])->c) collect<C>(records, &Product::c, sums);
    for (uint row = 0; row < 8; row += 1)
        for (uint k = 0; k < 8; k += 1)
            for (uint column = 0; column < 8; column += 1) sums[row][column] += a[row][k] * b[k][column];
    for (uint lane = 0; lane < 32; lane += 1) {
        D* own = (D*)((const Product*)records[lane])->d;
        for (uint i = 0; i < 2; i += 1) own[i] = D(sums[lane / 4][2 * (lane % 4) + i]);
    }
    return nullptr;
}

}  // namespace marlin

namespace metal {

template <typename T>
MARLIN_COLLECTIVE inline void simdgroup_load(
    simdgroup_matrix<T, 8, 8>& d, const T* source, ulong elements_per_row = 8, ulong2 origin = 0,
    bool transpose_matrix = false, uint line = __builtin_LINE()) {
    marlin::Access access = {source, elements_per_row, origin.x, origin.y, transpose_matrix, 0};
    MARLIN_MEET(true, "simdgroup_load", 0, &access, marlin::same_tile);
    for (uint i = 0; i < 2; i += 1) d.own[i] = source[marlin::place(access, i)];
}

template <typename T>
MARLIN_COLLECTIVE inline void simdgroup_store(
    const simdgroup_matrix<T, 8, 8>& a, T* target, ulong elements_per_row = 8, ulong2 origin = 0,
    bool transpose_matrix = false, uint line = __builtin_LINE()) {
    marlin::Access access = {target, elements_per_row, origin.x, origin.y, transpose_matrix, 0};
    MARLIN_MEET(true, "simdgroup_store", 0, &access, marlin::same_tile);
    for (uint i = 0; i < 2; i += 1) target[marlin::place(access, i)] = a.own[i];
}

template <typename D, typename A, typename B, typename C>
MARLIN_COLLECTIVE inline void simdgroup_multiply_accumulate(
    simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a, const simdgroup_matrix<B, 8, 8>& b,
    const simdgroup_matrix<C, 8, 8>& c, uint line = __builtin_LINE()) {
    marlin::Product product = {a.own, b.own, c.own, d.own};
    MARLIN_MEET(true, "simdgroup_multiply_accumulate", 0, &product, (marlin::multiply<D, A, B, C>));
}

template <typename D, typename A, typename B>
MARLIN_COLLECTIVE inline void simdgroup_multiply(
    simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a, const simdgroup_matrix<B, 8, 8>& b,
    uint line = __builtin_LINE()) {
    marlin::Product product = {a.own, b.own, nullptr, d.own};
    MARLIN_MEET(true, "simdgroup_multiply", 0, &product, (marlin::multiply<D, A, B, float>));
}

template <typename T, int Columns, int Rows>
inline simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
    return {{value, value}};
}

}  // namespace metal

#endif
