//! How many requests had which answer.

use http::StatusCode;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<StatusCode, u64>>);

impl Counts {
    pub fn add(&self, status: StatusCode) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(status).or_default() += 1;
    }
}

/// `Answered 3 requests: 2 with 200, 1 with 504`
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = counts.values().sum();
        let s = if all == 1 { "" } else { "s" };
        write!(f, "Answered {all} request{s}")?;
        for (index, (status, count)) in counts.iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            write!(f, "{before}{count} with {}", status.as_u16())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_in_order() {
        let counts = Counts::default();
        assert_eq!(counts.to_string(), "Answered 0 requests");
        counts.add(StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(counts.to_string(), "Answered 1 request: 1 with 504");
        counts.add(StatusCode::OK);
        counts.add(StatusCode::OK);
        let all = "Answered 3 requests: 2 with 200, 1 with 504";
        assert_eq!(counts.to_string(), all);
    }
}
