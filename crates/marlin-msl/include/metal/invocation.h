// Attributes of kernel arguments: Metal Shading Language Specification, 5.2.3.6. The host counts in three
// dimensions; a kernel may ask for fewer.
#ifndef MARLIN_INVOCATION_H
#define MARLIN_INVOCATION_H

#include "convert.h"
#include "host.h"

namespace marlin {

template <typename T>
inline T argument(const unsigned (&position)[3]) {
    if constexpr (lanes_of<T> == 1) {
        return T(position[0]);
    } else {
        T out;
        for (unsigned i = 0; i < lanes_of<T>; i += 1) out[i] = position[i];
        return out;
    }
}
template <typename T>
inline T argument(unsigned value) {
    static_assert(lanes_of<T> == 1, "this attribute is a scalar");
    return T(value);
}

}  // namespace marlin

#endif
