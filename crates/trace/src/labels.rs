//! Names that are too long for their place.

use std::collections::BTreeMap;

/// The names, with those of more than `most` characters shortened to that many.
///
/// The end of a name is kept, because names are often paths. If that makes different names
/// equal, these keep the end of what differs instead. An ellipsis stands for what is left
/// out. Two names may still become equal, if there is no room for all that differs.
///
/// ```
/// use preempt_trace::labels::shorten;
///
/// let names = ["/srv/guests/fib.wat", "/srv/guests/primes.wasm", "spin.wat"];
/// assert_eq!(shorten(&names, 10), ["…s/fib.wat", "…imes.wasm", "spin.wat"]);
/// let names = ["/srv/a/run.wasm", "/srv/b/run.wasm"];
/// assert_eq!(shorten(&names, 8), ["/srv/a…", "/srv/b…"]);
/// ```
pub fn shorten<S: AsRef<str>>(names: &[S], most: usize) -> Vec<String> {
    let names: Vec<Vec<char>> = names.iter().map(|s| s.as_ref().chars().collect()).collect();
    let mut shortened: Vec<String> = names.iter().map(|name| name.iter().collect()).collect();
    let long = |index: &usize| names[*index].len() > most;
    let long: Vec<usize> = (0..names.len()).filter(long).collect();
    // Groups of different names, and how many characters at their end all have in common.
    let mut groups = vec![(long, 0)];
    while let Some((group, common)) = groups.pop() {
        let mut equal: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for &index in &group {
            let short = cut(&names[index], common, most);
            shortened[index].clone_from(&short);
            equal.entry(short).or_default().push(index);
        }
        for group in equal.into_values() {
            let first = &names[group[0]];
            if group.iter().all(|index| names[*index] == *first) {
                continue;
            }
            let ends = group.iter().map(|index| {
                let pairs = first.iter().rev().zip(names[*index].iter().rev());
                let pairs = pairs.skip(common);
                common + pairs.take_while(|(a, b)| a == b).count()
            });
            let end = ends.min().unwrap_or(common);
            if end > common {
                groups.push((group, end));
            }
        }
    }
    shortened
}

/// At most `most` characters of `name`: those before its last `common` ones, if it has more.
fn cut(name: &[char], common: usize, most: usize) -> String {
    let common = if common < name.len() { common } else { 0 };
    let end = name.len() - common;
    let after = if common > 0 { "…" } else { "" };
    let room = most.saturating_sub(after.chars().count());
    let (before, start) = match end > room {
        true => ("…", end - room.saturating_sub(1)),
        false => ("", 0),
    };
    let kept: String = name[start..end].iter().collect();
    format!("{before}{kept}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_names_stay_as_they_are() {
        assert_eq!(shorten(&["a", "", "素数素数"], 4), ["a", "", "素数素数"]);
        assert!(shorten::<&str>(&[], 4).is_empty());
    }

    #[test]
    fn equal_names_stay_equal() {
        assert_eq!(shorten(&["abcdef", "abcdef"], 4), ["…def", "…def"]);
    }

    #[test]
    fn name_that_ends_like_a_longer_one_differs_from_it() {
        assert_eq!(shorten(&["bcdefgh", "abcdefgh"], 5), ["…efgh", "a…"]);
    }

    #[test]
    fn what_differs_is_found_step_by_step() {
        let names = ["x1/common/a/tail", "x2/common/a/tail", "x1/common/b/tail"];
        assert_eq!(shorten(&names, 6), ["x1…", "x2…", "…on/b…"]);
    }

    proptest! {
        #[test]
        fn shortened_names_fit(
            names in prop::collection::vec("[ab…]{0,12}", 0..8),
            most in 3..10_usize,
        ) {
            let short = shorten(&names, most);
            prop_assert_eq!(short.len(), names.len());
            for (short, name) in short.iter().zip(&names) {
                prop_assert!(short.chars().count() <= most, "{short}");
                prop_assert!(short == name || name.chars().count() > most, "{short}");
            }
        }

        #[test]
        fn two_names_stay_different(a in "[ab]{0,12}", b in "[ab]{0,12}", most in 3..10_usize) {
            let short = shorten(&[&a, &b], most);
            prop_assert_eq!(short[0] == short[1], a == b, "{:?} of {} and {}", short, a, b);
        }
    }
}
