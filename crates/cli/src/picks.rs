//! What came of a policy's picks: the schedule they make, and how far a replay went.

use preempt_policies::{Divergence, Schedule};
use serde::{Serialize, Serializer};

/// The results of a policy.
#[derive(Default)]
pub struct Made {
    pub schedule: Option<Schedule>,
    pub replayed: Option<Replayed>,
}

/// How far the guests followed the schedule.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Replayed {
    /// Where they left it, and why.
    #[serde(serialize_with = "divergence")]
    pub divergence: Option<Divergence>,
    /// How many picks are left.
    #[serde(rename = "picks_left")]
    pub left: u64,
}

fn divergence<S: Serializer>(
    divergence: &Option<Divergence>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    divergence
        .map(|divergence| divergence.to_string())
        .serialize(serializer)
}
