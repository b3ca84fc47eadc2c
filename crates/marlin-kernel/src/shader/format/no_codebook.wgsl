// For codes that mean something by themselves.

// Called first by all threads of a workgroup.
fn load_codebook(local: u32) {}
