// The codebook of the weights in a slab: the first 16 words of the slab's scales, in workgroup memory,
// where the lanes of a subgroup find any of 16 neighbouring words at once. Bindings: those of the scales.

var<workgroup> codebook: array<f32, 16>;

// Called first by all threads of a workgroup.
fn load_codebook(local: u32) {
    if local < 16u {
        codebook[local] = bitcast<f32>(scales[local]);
    }
    workgroupBarrier();
}
