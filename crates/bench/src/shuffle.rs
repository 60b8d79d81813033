//! Order at random: packets that follow each other shall belong to flows that have nothing to do with each other.

/// The numbers below `count` in random order, the same one every time.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    order
}
