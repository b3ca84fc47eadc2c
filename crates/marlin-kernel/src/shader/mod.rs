//! The GPU sources of the kernels. A shader stands in the folder of its kernel; what several share is a
//! snippet in this folder. This module composes them into WGSL and owns no device.
//!
//! Every variant has been parsed and validated by naga when this crate was built: a broken shader is a
//! build error with file and line. Shaders may ask for subgroup operations, f16 and cooperative
//! matrices; which ones a device has is for the player to find out.
//!
//! All shaders share one layout of bindings (group 0), and declare what they use of it:
//!
//! | binding | name | type | holds |
//! |---|---|---|---|
//! | 0 | `step` | uniform | what is fixed for a step of a plan |
//! | 1 | `arena` | read and write, f32 | all activation buffers |
//! | 2 | `vectors` | read, f32 | norm weights and biases |
//! | 3 | `batch` | read, u32 | what changes from batch to batch: `arena.wgsl` |
//! | 4, 5 | `codes`, `scales` | read | a slab of weights in kernel order |
//! | 6 | `cache` | read and write | a layer's cache |
//! | 7 | `scratch` | read and write | what one dispatch of a step leaves for the next |
//! | 8 | `tables` | read, u32 | lists of operations, places of experts |

mod compose;
mod table;

pub use compose::Source;
pub use table::{Constants, Needs, SHADERS, Shader, Slots, Variant};

include!(concat!(env!("OUT_DIR"), "/files.rs"));

impl Variant {
    /// The composed WGSL. Panics for a variant that is not in the table: the build has composed those
    /// that are.
    pub fn source(&self) -> Source {
        let file = |name: &str| {
            let at = FILES.binary_search_by_key(&name, |(name, _)| name).ok()?;
            Some(FILES[at].1)
        };
        compose::compose(&file, self.file, &self.slots, &self.constants)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its row of the table. Panics if there is none.
    pub fn shader(&self) -> &'static Shader {
        let takes = |shader: &Shader, (slot, snippet): &(&str, &str)| {
            shader.slots.iter().any(|(name, snippets)| name == slot && snippets.contains(snippet))
        };
        let fits =
            |shader: &&Shader| shader.file == self.file && self.slots.iter().all(|slot| takes(shader, slot));
        SHADERS.iter().find(fits).unwrap_or_else(|| panic!("no shader makes {}", self.name()))
    }

    /// A name for files and messages: `matvec-e2m1-e4m3-rows4`.
    pub fn name(&self) -> String {
        let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let slots = self.slots.iter().map(|(_, snippet)| last(snippet));
        let constants = self.constants.iter().map(|(name, value)| format!("{}{value}", name.to_lowercase()));
        let parts: Vec<String> = std::iter::once(last(self.file)).chain(slots).chain(constants).collect();
        parts.join("-")
    }
}

#[cfg(test)]
mod tests;
