// Types shared by host and shader; here `metal_stdlib` has them all.
#include <metal_stdlib>
