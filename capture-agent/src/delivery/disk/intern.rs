//! Reasons of gaps that come from a file, as the values that live as long as the program.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Reasons that are told apart; a file that names more was not written by an agent.
const MAX_REASONS: usize = 256;

static REASONS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The one reason of this text.
pub(super) fn reason(text: &str) -> &'static str {
    let mut reasons = REASONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = reasons.get(text) {
        return known;
    }
    if reasons.len() >= MAX_REASONS {
        return "unknown";
    }
    let reason: &'static str = Box::leak(Box::from(text));
    reasons.insert(reason);
    reason
}
