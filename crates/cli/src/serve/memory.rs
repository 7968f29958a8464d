//! How large the memories and tables of an instance are, and how large they may be.

use indicatif::BinaryBytes;

#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    limit: u64,
    pub used: u64,
    /// Whether it has asked for more than its limit.
    pub refused: bool,
}

impl Memory {
    /// May have up to `limit` bytes.
    pub fn new(limit: u64) -> Memory {
        Memory {
            limit,
            ..Memory::default()
        }
    }

    /// Whether there may be `more` bytes.
    pub fn take(&mut self, more: u64) -> bool {
        let used = self.used.saturating_add(more);
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }

    /// `256.00 MiB`
    pub fn limit(&self) -> String {
        BinaryBytes(self.limit).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_does_not_count() {
        let mut memory = Memory::new(100);
        assert!(memory.take(60));
        assert!(!memory.take(u64::MAX) && memory.refused);
        assert!(memory.take(40));
        assert!(!memory.take(1));
        assert_eq!(memory.limit(), "100 B");
    }
}
