//! The requests of a [`Line`](crate::line::Line), ordered by deadline, in a treap
//! (Seidel and Aragon 1996) that knows the least start below each branch.
//!
//! The least starts let one descent find the earliest deadline among the requests
//! that may start. Rejected: two heaps, one of them for requests that may not start
//! yet. When the clock passes a start that many requests share, all of them have to
//! move from one heap to the other at once. With a million threads, that takes a good
//! part of a second.

/// A request's place: by deadline, then by key.
type Place<K> = (u128, K);

#[derive(Clone, Debug)]
struct Node<K> {
    place: Place<K>,
    start: u128,
    /// No child's is greater: this makes the tree a heap, which keeps it flat.
    rank: u64,
    left: Branch<K>,
    right: Branch<K>,
}

/// A subtree. Its least start is stored beside the link, so that a descent touches no
/// node off its path.
#[derive(Clone, Debug)]
struct Branch<K> {
    least: u128,
    node: Option<Box<Node<K>>>,
}

/// All requests of a line.
#[derive(Clone, Debug)]
pub(crate) struct Tree<K> {
    root: Branch<K>,
    inserted: u64,
}

impl<K: Copy + Ord> Tree<K> {
    pub(crate) fn new() -> Self {
        Tree {
            root: Branch::of(None),
            inserted: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.node.is_none()
    }

    /// The least start of all requests, or `u128::MAX` if there are none.
    pub(crate) fn least_start(&self) -> u128 {
        self.root.least
    }

    /// The earliest deadline of all requests, or `u128::MAX` if there are none.
    pub(crate) fn first_end(&self) -> u128 {
        let mut end = u128::MAX;
        let mut branch = &self.root;
        while let Some(node) = &branch.node {
            end = node.place.0;
            branch = &node.left;
        }
        end
    }

    pub(crate) fn insert(&mut self, start: u128, end: u128, key: K) {
        self.inserted = self.inserted.wrapping_add(1);
        self.root.insert(Box::new(Node {
            place: (end, key),
            start,
            rank: scramble(self.inserted),
            left: Branch::of(None),
            right: Branch::of(None),
        }));
    }

    pub(crate) fn remove(&mut self, end: u128, key: K) {
        self.root.remove(&(end, key));
    }

    /// Takes the request with the earliest deadline among those that start at or
    /// before `clock`.
    pub(crate) fn take_first(&mut self, clock: u128) -> Option<K> {
        if self.root.least > clock {
            return None;
        }
        self.root.take_first(clock)
    }
}

impl<K: Copy + Ord> Branch<K> {
    fn of(node: Option<Box<Node<K>>>) -> Self {
        let least = node.as_ref().map_or(u128::MAX, |node| node.least());
        Branch { least, node }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Branch::of(None))
    }

    fn insert(&mut self, mut new: Box<Node<K>>) {
        match &mut self.node {
            Some(node) if node.rank >= new.rank => {
                self.least = self.least.min(new.start);
                if new.place < node.place {
                    node.left.insert(new);
                } else {
                    node.right.insert(new);
                }
            }
            _ => {
                (new.left, new.right) = self.take().split(&new.place);
                *self = Branch::of(Some(new));
            }
        }
    }

    fn remove(&mut self, place: &Place<K>) {
        let Some(node) = &mut self.node else { return };
        if node.place == *place {
            self.uproot();
            return;
        }
        if *place < node.place {
            node.left.remove(place);
        } else {
            node.right.remove(place);
        }
        self.least = node.least();
    }

    /// The caller has checked that something here starts at or before `clock`.
    fn take_first(&mut self, clock: u128) -> Option<K> {
        let node = self.node.as_mut()?;
        let taken = if node.left.least <= clock {
            node.left.take_first(clock)
        } else if node.start <= clock {
            return self.uproot();
        } else {
            node.right.take_first(clock)
        };
        self.least = node.least();
        taken
    }

    /// Removes the topmost node.
    fn uproot(&mut self) -> Option<K> {
        let mut node = self.take().node?;
        *self = node.left.take().merge(node.right.take());
        Some(node.place.1)
    }

    /// Splits into what comes before `place` and what comes after.
    fn split(self, place: &Place<K>) -> (Self, Self) {
        let Some(mut node) = self.node else {
            return (self, Branch::of(None));
        };
        if node.place < *place {
            let (before, after) = node.right.take().split(place);
            node.right = before;
            (Branch::of(Some(node)), after)
        } else {
            let (before, after) = node.left.take().split(place);
            node.left = after;
            (before, Branch::of(Some(node)))
        }
    }

    /// Everything in `self` must come before everything in `after`.
    fn merge(self, after: Self) -> Self {
        match (self.node, after.node) {
            (None, node) | (node, None) => Branch::of(node),
            (Some(mut a), Some(mut b)) => {
                if a.rank >= b.rank {
                    a.right = a.right.take().merge(Branch::of(Some(b)));
                    Branch::of(Some(a))
                } else {
                    b.left = Branch::of(Some(a)).merge(b.left.take());
                    Branch::of(Some(b))
                }
            }
        }
    }
}

impl<K> Node<K> {
    fn least(&self) -> u128 {
        self.start.min(self.left.least).min(self.right.least)
    }
}

/// Turns a counter into ranks that look random: the finalizer of `SplitMix64`
/// (Steele, Lea and Flood 2014). The same on every machine.
fn scramble(count: u64) -> u64 {
    let mut bits = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::Tree;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn takes_what_a_search_through_all_would(
            ops in prop::collection::vec((0..4_u8, 0..20_u128, 1..20_u128), 0..200),
        ) {
            let mut tree = Tree::new();
            let mut all: Vec<(u128, usize, u128)> = Vec::new();
            for (number, (op, start, length)) in ops.into_iter().enumerate() {
                match op {
                    0 | 1 => {
                        tree.insert(start, start + length, number);
                        all.push((start + length, number, start));
                    }
                    2 if !all.is_empty() => {
                        let index = usize::try_from(start).unwrap() % all.len();
                        let (end, key, _) = all.swap_remove(index);
                        tree.remove(end, key);
                    }
                    _ => {
                        let clock = start;
                        let first = all.iter().filter(|at| at.2 <= clock).min().copied();
                        all.retain(|at| Some(*at) != first);
                        prop_assert_eq!(tree.take_first(clock), first.map(|at| at.1));
                    }
                }
                let least = all.iter().map(|at| at.2).min();
                prop_assert_eq!(tree.least_start(), least.unwrap_or(u128::MAX));
                let end = all.iter().map(|at| at.0).min();
                prop_assert_eq!(tree.first_end(), end.unwrap_or(u128::MAX));
                prop_assert_eq!(tree.is_empty(), all.is_empty());
            }
        }
    }
}
