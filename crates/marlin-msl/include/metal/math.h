// Common, integer, relational, math and geometric functions: Metal Shading Language Specification, 6.3 to 6.6 and
// 6.8. Each takes scalars and vectors of any length. Under fast math Metal may compute `exp`, `log` and their like
// less exactly than this.
#ifndef MARLIN_MATH_H
#define MARLIN_MATH_H

#include "convert.h"

namespace marlin {

template <typename T, typename F, typename... A>
inline T each_lane(F f, T first, A... rest) {
    if constexpr (lanes_of<T> == 1) {
        return f(first, rest...);
    } else {
        return indexed<lanes_of<T>>([&](auto... i) {
            const auto lane = [&](unsigned at) { return f(first[at], rest[at]...); };
            return T{lane(i)...};
        });
    }
}

/// Applies `f`, which takes scalars and the compiler's own vectors.
template <typename T, typename F>
inline T each_pair(T a, T b, F f) {
    if constexpr (lanes_of<T> == 1 || is_builtin<T>) {
        return f(a, b);
    } else {
        return each_lane<T>(f, a, b);
    }
}

template <typename T>
concept Floating = is_floating<Element<T>>;
template <typename T>
concept Integral = !is_floating<Element<T>> && !is_same<Element<T>, bool> && !is_comparison<T>;
template <typename T>
concept Numeric = Floating<T> || Integral<T>;
template <typename T>
concept Scalar = lanes_of<T> == 1;

}  // namespace marlin

namespace metal {

// Minima and maxima of floating-point numbers (6.5) give the other operand where one is NaN.
template <marlin::Numeric T>
inline T min(T a, T b) {
    return marlin::each_pair(a, b, [](auto a, auto b) { return __builtin_elementwise_min(a, b); });
}
template <marlin::Numeric T>
inline T max(T a, T b) {
    return marlin::each_pair(a, b, [](auto a, auto b) { return __builtin_elementwise_max(a, b); });
}
template <marlin::Floating T>
inline T fmin(T a, T b) {
    return __builtin_elementwise_min(a, b);
}
template <marlin::Floating T>
inline T fmax(T a, T b) {
    return __builtin_elementwise_max(a, b);
}

template <marlin::Numeric T>
inline T clamp(T x, T low, T high, uint line = __builtin_LINE()) {
#ifdef MARLIN_CHECKED
    marlin::each_lane<T>(
        [line](auto low, auto high) {
            if (low > high) marlin::undefined("clamp with a minimum above its maximum", line);
            return low;
        },
        low, high);
#endif
    return min(max(x, low), high);
}

template <marlin::Floating T>
inline T saturate(T x) {
    return min(max(x, T(0)), T(1));
}

template <marlin::Floating T>
inline T mix(T x, T y, T a) {
    return x + (y - x) * a;
}

template <typename T>
inline T select(T a, T b, typename marlin::Compared<T>::Type pick_b) {
    if constexpr (marlin::lanes_of<T> == 1) {
        return pick_b ? b : a;
    } else {
        return marlin::each_lane<T>([](auto a, auto b, bool c) { return c ? b : a; }, a, b, pick_b);
    }
}

template <unsigned N>
inline bool any(marlin::Booleans<N> x) {
    return marlin::indexed<N>([&](auto... i) { return (x[i] || ...); });
}
template <unsigned N>
inline bool all(marlin::Booleans<N> x) {
    return marlin::indexed<N>([&](auto... i) { return (x[i] && ...); });
}
template <typename V>
    requires marlin::is_comparison<V>
inline bool any(V x) {
    return any(marlin::Booleans<marlin::lanes_of<V>>(x));
}
template <typename V>
    requires marlin::is_comparison<V>
inline bool all(V x) {
    return all(marlin::Booleans<marlin::lanes_of<V>>(x));
}

template <marlin::Floating T>
inline T fma(T a, T b, T c) {
    return __builtin_elementwise_fma(a, b, c);
}

#define MARLIN_MATH(name, builtin)                                                                                 \
    template <marlin::Floating T>                                                                                  \
    inline T name(T x) {                                                                                           \
        return marlin::each_lane<T>([](auto x) { return decltype(x)(builtin(float(x))); }, x);                     \
    }

MARLIN_MATH(acos, __builtin_acosf)
MARLIN_MATH(acosh, __builtin_acoshf)
MARLIN_MATH(asin, __builtin_asinf)
MARLIN_MATH(asinh, __builtin_asinhf)
MARLIN_MATH(atan, __builtin_atanf)
MARLIN_MATH(atanh, __builtin_atanhf)
MARLIN_MATH(cos, __builtin_cosf)
MARLIN_MATH(cosh, __builtin_coshf)
MARLIN_MATH(exp, __builtin_expf)
MARLIN_MATH(exp2, __builtin_exp2f)
MARLIN_MATH(log, __builtin_logf)
MARLIN_MATH(log2, __builtin_log2f)
MARLIN_MATH(log10, __builtin_log10f)
MARLIN_MATH(sin, __builtin_sinf)
MARLIN_MATH(sinh, __builtin_sinhf)
MARLIN_MATH(tan, __builtin_tanf)
MARLIN_MATH(tanh, __builtin_tanhf)
MARLIN_MATH(sqrt, __builtin_sqrtf)
MARLIN_MATH(rsqrt, 1.0f / __builtin_sqrtf)
MARLIN_MATH(ceil, __builtin_ceilf)
MARLIN_MATH(floor, __builtin_floorf)
MARLIN_MATH(fabs, __builtin_fabsf)
MARLIN_MATH(rint, __builtin_rintf)
MARLIN_MATH(round, __builtin_roundf)
MARLIN_MATH(trunc, __builtin_truncf)

#define MARLIN_MATH_OF_TWO(name, builtin)                                                                          \
    template <marlin::Floating T>                                                                                  \
    inline T name(T x, T y) {                                                                                      \
        return marlin::each_lane<T>([](auto x, auto y) { return decltype(x)(builtin(float(x), float(y))); }, x, y); \
    }

MARLIN_MATH_OF_TWO(atan2, __builtin_atan2f)
MARLIN_MATH_OF_TWO(copysign, __builtin_copysignf)
MARLIN_MATH_OF_TWO(fmod, __builtin_fmodf)
MARLIN_MATH_OF_TWO(pow, __builtin_powf)
MARLIN_MATH_OF_TWO(powr, __builtin_powf)

template <marlin::Floating T>
inline T fract(T x) {
    return x - floor(x);
}
template <marlin::Floating T>
inline T sign(T x) {
    return marlin::each_lane<T>([](auto x) { return decltype(x)(x > 0 ? 1 : x < 0 ? -1 : x); }, x);
}
template <marlin::Floating T>
inline T step(T edge, T x) {
    return marlin::each_lane<T>([](auto edge, auto x) { return decltype(x)(x < edge ? 0 : 1); }, edge, x);
}

template <marlin::Floating T>
inline T abs(T x) {
    return fabs(x);
}
template <marlin::Integral T>
inline T abs(T x) {
    return marlin::each_lane<T>([](auto x) { return decltype(x)(x < 0 ? -x : x); }, x);
}

#define MARLIN_INTEGER(name, expression)                                                                           \
    template <marlin::Integral T>                                                                                  \
    inline T name(T x) {                                                                                           \
        return marlin::each_lane<T>(                                                                               \
            [](auto lane) {                                                                                        \
                constexpr unsigned bits = 8 * sizeof(lane);                                                        \
                const ulong x = ulong(lane) & (~0ul >> (64 - bits));                                               \
                return decltype(lane)(expression);                                                                 \
            },                                                                                                     \
            x);                                                                                                    \
    }

MARLIN_INTEGER(clz, x == 0 ? bits : __builtin_clzl(x) - (64 - bits))
MARLIN_INTEGER(ctz, x == 0 ? bits : __builtin_ctzl(x))
MARLIN_INTEGER(popcount, __builtin_popcountl(x))
MARLIN_INTEGER(reverse_bits, __builtin_bitreverse64(x) >> (64 - bits))

inline uint mulhi(uint a, uint b) {
    return uint((ulong(a) * ulong(b)) >> 32);
}
template <marlin::Integral T>
inline T extract_bits(T x, uint offset, uint bits, uint line = __builtin_LINE()) {
    constexpr uint width = 8 * sizeof(marlin::Element<T>);
    if (offset + bits > width) marlin::undefined("extract_bits past the last bit", line);
    if (bits == 0) return T(0);
    return marlin::each_lane<T>([=](auto x) { return decltype(x)(decltype(x)(x << (width - bits - offset)) >> (width - bits)); }, x);
}

template <marlin::Floating T>
inline marlin::Element<T> dot(T a, T b) {
    return marlin::indexed<marlin::lanes_of<T>>([&](auto... i) {
        marlin::Element<T> sum = 0;
        ((sum = fma(a[i], b[i], sum)), ...);
        return sum;
    });
}
template <marlin::Floating T>
inline marlin::Element<T> length_squared(T a) {
    return dot(a, a);
}
template <marlin::Floating T>
inline marlin::Element<T> length(T a) {
    return sqrt(dot(a, a));
}
template <marlin::Floating T>
inline T normalize(T a) {
    return a * rsqrt(dot(a, a));
}

#define MARLIN_CLASSIFY(name, test)                                                                                \
    template <marlin::Floating T>                                                                                  \
    inline typename marlin::Compared<T>::Type name(T value) {                                                      \
        const auto classify = [](float x) -> bool { return test; };                                                \
        if constexpr (marlin::lanes_of<T> == 1) {                                                                  \
            return classify(value);                                                                                \
        } else {                                                                                                   \
            return marlin::indexed<marlin::lanes_of<T>>([&](auto... i) {                                           \
                return marlin::Booleans<sizeof...(i)>(classify(value[i])...);                                      \
            });                                                                                                    \
        }                                                                                                          \
    }

MARLIN_CLASSIFY(isnan, __builtin_isnan(x))
MARLIN_CLASSIFY(isinf, __builtin_isinf(x))
MARLIN_CLASSIFY(isfinite, __builtin_isfinite(x))

}  // namespace metal

#endif
