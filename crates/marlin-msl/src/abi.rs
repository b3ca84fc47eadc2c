//! The records that `include/metal/host.h` describes, field by field: what a compiled kernel and its
//! host share.

use std::ffi::{c_char, c_uint, c_ulong, c_void};

/// A place where threads wait for one another.
#[repr(C)]
pub struct Meeting {
    pub site: *const c_void,
    pub name: *const c_char,
    pub line: c_uint,
    pub of_simdgroup: c_uint,
    pub flags: c_uint,
    pub record: *mut c_void,
    pub complete: Option<unsafe extern "C" fn(*const *mut c_void, c_uint) -> *const c_char>,
}

/// What a kernel may ask of its host.
#[repr(C)]
pub struct Host {
    pub meet: unsafe extern "C" fn(*const Meeting),
    pub undefined: unsafe extern "C" fn(*const c_char, c_uint),
    pub access: unsafe extern "C" fn(*const c_void, c_ulong, c_uint, *const c_void),
}

/// Bits of the kind of an access.
pub const WRITES: c_uint = 1;
pub const ATOMICALLY: c_uint = 2;
pub const COPIES: c_uint = 4;
pub const STORES: c_uint = 8;
pub const REPLACES: c_uint = 16;

/// Bits of a barrier's flags: the memory that it orders.
pub const MEM_DEVICE: c_uint = 1;
pub const MEM_THREADGROUP: c_uint = 2;

/// Who a thread is and where its memory lies.
#[repr(C)]
#[derive(Clone)]
pub struct Invocation {
    pub position_in_grid: [c_uint; 3],
    pub position_in_threadgroup: [c_uint; 3],
    pub threadgroup_position: [c_uint; 3],
    pub threadgroups: [c_uint; 3],
    pub threads_per_threadgroup: [c_uint; 3],
    pub threads_per_grid: [c_uint; 3],
    pub index_in_threadgroup: c_uint,
    pub simdgroup_index: c_uint,
    pub lane: c_uint,
    pub simdgroups: c_uint,
    pub simdgroup_size: c_uint,
    pub buffers: *const *mut c_void,
    pub shared: *const *mut c_void,
}

/// What the trampoline exports: `signature.rs` writes it.
#[repr(C)]
pub struct Exports {
    pub run: unsafe extern "C" fn(*const Invocation),
    pub attach: unsafe extern "C" fn(*const Host),
    pub shared_sizes: *const c_uint,
    pub shared_alignments: *const c_uint,
}
