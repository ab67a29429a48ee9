//! What a stage remembers of each container.

use std::collections::HashMap;
use std::sync::Arc;

/// Fewer states than these are not worth a look for what can go.
const FEW: usize = 64;

/// States of containers, by their ids. One that is as good as a new one is dropped by and by, so that no more are kept
/// than twice those that matter.
#[derive(Debug)]
pub(super) struct PerContainer<S> {
    states: HashMap<Arc<str>, S>,
    /// How many there may be before they are looked through.
    enough: usize,
}

impl<S> Default for PerContainer<S> {
    fn default() -> Self {
        Self { states: HashMap::new(), enough: FEW }
    }
}

impl<S> PerContainer<S> {
    /// The state of a container, made if there is none. Then those of which `is_idle` holds may go.
    pub(super) fn get_or_insert(
        &mut self,
        id: &Arc<str>,
        new: impl FnOnce() -> S,
        is_idle: impl Fn(&S) -> bool,
    ) -> &mut S {
        if !self.states.contains_key(id) && self.states.len() >= self.enough {
            self.states.retain(|_, state| !is_idle(state));
            self.enough = FEW.max(2 * self.states.len());
        }
        self.states.entry(Arc::clone(id)).or_insert_with(new)
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<S> {
        self.states.remove(id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.states.values_mut()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_matter_stay_and_the_others_go() {
        let mut states = PerContainer::default();
        for number in 0..10_000 {
            let id = Arc::from(format!("c{number}"));
            *states.get_or_insert(&id, || 0, |state| *state % 100 != 0) = number;
            assert!(states.len() <= FEW.max(2 * (number / 100 + 1)) + 1, "{} of {number}", states.len());
        }
        assert!((0..10_000).step_by(100).all(|number| states.remove(&format!("c{number}")) == Some(number)));
    }
}
