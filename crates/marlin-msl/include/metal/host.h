// What the compiled kernel and the host that runs it know of each other. The same records stand in src/abi.rs.
#ifndef MARLIN_HOST_H
#define MARLIN_HOST_H

/// Of functions whose accesses are not recorded.
#define MARLIN_UNSEEN __attribute__((noinline, no_sanitize("thread"), visibility("hidden")))

namespace marlin {

using Lanes = void* const*;

/// Where threads wait for one another. `complete` sees the records of all lanes of a simdgroup, null where a lane
/// has returned, and answers null or what is undefined about them.
struct Meeting {
    const void* site;
    const char* name;
    unsigned line;
    unsigned of_simdgroup;
    unsigned flags;
    void* record;
    const char* (*complete)(Lanes records, unsigned lanes);
};

struct Host {
    void (*meet)(const Meeting*);
    void (*undefined)(const char* what, unsigned line);
    void (*access)(const void* at, unsigned long bytes, unsigned kind, const void* site);
};

/// Bits of the kind of an access; `copies` is of a whole value, with whatever padding it has, `stores` of an atomic
/// one that does not read, `replaces` of one that stores another value.
inline constexpr unsigned writes = 1, atomically = 2, copies = 4, stores = 8, replaces = 16;

struct Invocation {
    unsigned position_in_grid[3];
    unsigned position_in_threadgroup[3];
    unsigned threadgroup_position[3];
    unsigned threadgroups[3];
    unsigned threads_per_threadgroup[3];
    unsigned threads_per_grid[3];
    unsigned index_in_threadgroup;
    unsigned simdgroup_index;
    unsigned lane;
    unsigned simdgroups;
    unsigned simdgroup_size;
    void* const* buffers;
    void* const* shared;
};

inline const Host* host = nullptr;

MARLIN_UNSEEN inline void attach(const Host* to) {
    host = to;
}

/// What a compiled kernel hands its host.
struct Exports {
    void (*run)(const Invocation*);
    void (*attach)(const Host*);
    const unsigned* shared_sizes;
    const unsigned* shared_alignments;
};

#define MARLIN_EXPORT(run, sizes, alignments)                                                                      \
    extern "C" __attribute__((visibility("default"))) const marlin::Exports marlin_exports = {                     \
        run, marlin::attach, sizes, alignments};

[[noreturn]] inline __attribute__((noinline, cold)) void undefined(const char* what, unsigned line) {
    host->undefined(what, line);
    __builtin_trap();
}

/// Collectives are never inlined, so that their return address names the call, and are convergent, so that the
/// optimizer keeps the threads that reach a call together.
#define MARLIN_COLLECTIVE __attribute__((noinline, convergent, no_sanitize("undefined")))

#define MARLIN_MEET(of_simdgroup, name, flags, record, complete)                                                   \
    do {                                                                                                           \
        const ::marlin::Meeting meeting = {__builtin_return_address(0), name, line, of_simdgroup, flags, record,   \
                                           complete};                                                              \
        ::marlin::host->meet(&meeting);                                                                            \
        asm volatile("" ::: "memory");                                                                             \
    } while (false)

}  // namespace marlin

#endif
