//! Which format each tensor gets, by what it is for.

use marlin_format::Format;
use marlin_model::Role;

/// A format for each kind of tensor. Norms, biases and routers keep the precision they have.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// For the matrices of products.
    pub linear: &'static dyn Format,
    /// For the embedding table, which is also the head where they are tied.
    pub embed: &'static dyn Format,
    /// For the head.
    pub head: &'static dyn Format,
}

impl Recipe {
    /// What decides the result, in words.
    pub(crate) fn describe(&self) -> String {
        let (linear, embed, head) = (self.linear.name(), self.embed.name(), self.head.name());
        format!("linear {linear}, embed {embed}, head {head}")
    }

    /// The format of a tensor with this role; `None` to keep it as it is.
    pub fn format(&self, role: Role) -> Option<&'static dyn Format> {
        match role {
            Role::Linear => Some(self.linear),
            Role::Embedding => Some(self.embed),
            Role::Head => Some(self.head),
            Role::Router | Role::Vector => None,
        }
    }
}
