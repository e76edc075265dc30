//! Streams of random choices: one for each user, so that a choice more in one place moves nothing in another.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The stream of `user` under this seed.
pub fn stream(seed: u64, user: impl Hash) -> fastrand::Rng {
    // Its keys are fixed, so that the same seed gives the same stream in every process.
    let mut hasher = DefaultHasher::new();
    (seed, user).hash(&mut hasher);
    fastrand::Rng::with_seed(hasher.finish())
}

/// Whether something happens that happens this many times in a thousand.
pub fn happens(random: &mut fastrand::Rng, per_mille: u32) -> bool {
    per_mille > 0 && random.u32(..1000) < per_mille
}

/// One of these, if there is any.
pub fn pick<'a, T>(random: &mut fastrand::Rng, all: &'a [T]) -> Option<&'a T> {
    (!all.is_empty()).then(|| &all[random.usize(..all.len())])
}
