//! What every fuzz target does with a model that was accepted: use all of it.

pub mod weights;

use marlin_file::Checkpoint;

/// Asserts that no two tensors share a byte and that all lie in `bytes` of file, then decodes every
/// weight and the first and last matrix of every stack.
pub fn use_all(model: &Checkpoint, bytes: usize) {
    let used: usize = model.tensors().iter().map(|tensor| tensor.data.len()).sum();
    assert!(used <= bytes, "{used} bytes of tensors in a file of {bytes}");
    for tensor in model.tensors() {
        assert_eq!(tensor.dtype.len_bytes(&tensor.shape), Some(tensor.data.len()), "{}", tensor.name);
    }
    for name in model.weight_names().into_iter().chain(model.stack_names()) {
        let weight = model.weight(name);
        if let Ok(weight) = &weight {
            assert_eq!(model.weight_shape(name).ok(), Some((weight.rows(), weight.cols())), "{name}");
        }
        decode(weight);
    }
    for tensor in model.tensors() {
        if let [experts, ..] = tensor.shape[..] {
            decode(model.expert_weight(&tensor.name, 0));
            decode(model.expert_weight(&tensor.name, experts.saturating_sub(1)));
        }
    }
}

fn decode(weight: Result<marlin_format::Weight, marlin_file::Error>) {
    match weight {
        Ok(weight) => {
            let mut values = vec![0.0; weight.cols()];
            (0..weight.rows()).for_each(|row| weight.decode_row(row, &mut values));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
