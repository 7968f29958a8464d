//! What a thread with a CPU rate has borrowed to run for: see `throttling.rs`.

use crate::runtime::preempt::rate::{Bucket, CpuRate, LEAST_PORTION, Tenant};

/// The bucket of a thread or a group that has a rate.
pub(super) type Rated<'a> = Option<(CpuRate, &'a mut Bucket)>;

/// What is not worth another dispatch.
const TOO_LITTLE: i64 = LEAST_PORTION as i64 / 2;

/// A thread's tenant, and what it has borrowed.
#[derive(Default)]
pub(super) struct Throttle {
    pub(super) tenant: Option<Tenant>,
    pub(super) grant: Option<Grant>,
    /// How much to borrow next: grows while the thread uses it up.
    portion: u64,
    /// By how much it ran for longer than it was to, and has yet to run for less. Negative if it
    /// ran for less, and was not done.
    overrun: i64,
    /// When it was parked, by the clock of runs.
    pub(super) since: u64,
    /// How many times it was parked, and for how long in all, in nanoseconds.
    pub(super) times: u64,
    pub(super) time: u64,
}

/// Borrowed CPU time.
pub(super) struct Grant {
    /// When it is there, on the clock of waits.
    pub(super) there_at: u64,
    amount: u64,
    /// Negative if more was used.
    pub(super) left: i64,
    /// How much of it the thread is not to use, as it did so before.
    held_back: i64,
    /// Whether it is also from the thread's own bucket, and from its group's. It is from the
    /// tenant's if there is one.
    pub(super) own: bool,
    pub(super) group: bool,
}

/// Where a thread goes when it leaves the CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is dispatched again before anybody else, whatever it has left.
    Continues,
    /// It waits for its turn.
    Ready,
    /// It waits for something else, or has finished.
    Gone,
}

impl Grant {
    /// For how long the thread may still run.
    pub(super) fn time(&self) -> u64 {
        u64::try_from(self.left.saturating_sub(self.held_back)).unwrap_or(0)
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

impl Throttle {
    pub(super) fn of(tenant: Option<Tenant>) -> Throttle {
        Throttle {
            tenant,
            ..Throttle::default()
        }
    }

    /// Forgets what it has borrowed and how it used that, on another clock.
    pub(super) fn begin_anew(&mut self) {
        self.grant = None;
        self.portion = 0;
        self.overrun = 0;
    }

    /// Borrows what the thread needs for its turn, unless it has that. Returns when it is there.
    pub(super) fn borrow(&mut self, own: Rated<'_>, group: Rated<'_>, now: u64) -> u64 {
        if let Some(grant) = &self.grant {
            return grant.there_at;
        }
        let rates = [
            own.as_ref().map(|(rate, _)| *rate),
            group.as_ref().map(|(rate, _)| *rate),
            self.tenant.as_ref().map(Tenant::rate),
        ];
        let most = rates.iter().flatten().map(CpuRate::most_portion).min();
        let Some(most) = most else {
            return 0;
        };
        let amount = self.portion.clamp(LEAST_PORTION, most);
        // Half of it is worth a dispatch.
        let half = signed(amount / 2);
        let held_back = self.overrun.clamp(-half, half);
        self.overrun -= held_back;
        let mut grant = Grant {
            there_at: 0,
            amount,
            left: signed(amount),
            held_back,
            own: own.is_some(),
            group: group.is_some(),
        };
        for (rate, bucket) in own.into_iter().chain(group) {
            grant.there_at = grant.there_at.max(bucket.borrow(&rate, amount, now));
        }
        if let Some(tenant) = &self.tenant {
            grant.there_at = grant.there_at.max(tenant.borrow(amount, now));
        }
        let there_at = grant.there_at;
        self.grant = Some(grant);
        there_at
    }

    /// Takes what was `used` in a dispatch out of what was borrowed for it.
    pub(super) fn settle(&mut self, of_own: Rated<'_>, of_group: Rated<'_>, used: u64, next: Next) {
        if let Some(tenant) = &self.tenant {
            tenant.count(used);
        }
        let used = signed(used);
        // What was not borrowed is taken now.
        let (mut own, mut group, mut tenant) = (-used, -used, -used);
        if let Some(grant) = &mut self.grant {
            grant.left = grant.left.saturating_sub(used);
            let keeps = match next {
                Next::Continues => true,
                Next::Ready => signed(grant.time()) >= TOO_LITTLE,
                Next::Gone => false,
            };
            let left = if keeps { 0 } else { grant.left };
            tenant = left;
            if grant.own {
                own = left;
            }
            if grant.group {
                group = left;
            }
            if !keeps {
                // The bucket has paid for what was too much. But each thread that waits for it
                // gets as many portions, so this one would get more than others.
                let half = signed(grant.amount / 2);
                let beyond = grant.held_back.saturating_sub(grant.left);
                let beyond = match next {
                    // It has had no turn to do that in.
                    Next::Gone if used == 0 => grant.held_back,
                    Next::Gone => beyond.max(0),
                    Next::Continues | Next::Ready => beyond,
                };
                self.overrun = self.overrun.saturating_add(beyond).clamp(-half, half);
                let used = signed(grant.amount).saturating_sub(grant.left);
                self.portion = u64::try_from(used).unwrap_or(0).saturating_mul(2);
                self.grant = None;
            }
        }
        if let Some((rate, bucket)) = of_own {
            bucket.settle(&rate, own);
        }
        if let Some((rate, bucket)) = of_group {
            bucket.settle(&rate, group);
        }
        if let Some(of_tenant) = &self.tenant {
            of_tenant.settle(tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const US: u64 = 1_000;

    /// A thread with a bucket of its own.
    struct Rated {
        throttle: Throttle,
        bucket: Bucket,
        used: u64,
    }

    impl Rated {
        fn new() -> Rated {
            Rated {
                throttle: Throttle::default(),
                bucket: Bucket::default(),
                used: 0,
            }
        }

        /// Runs for as long as it may and `beyond`. Returns for how long it might.
        fn turn(&mut self, beyond: i64, next: Next) -> u64 {
            let rate = CpuRate::new(Duration::from_millis(10), Duration::from_millis(100));
            self.throttle
                .borrow(Some((rate, &mut self.bucket)), None, 0);
            let time = self.throttle.grant.as_ref().map_or(0, Grant::time);
            let used = time.saturating_add_signed(beyond);
            let own = Some((rate, &mut self.bucket));
            self.throttle.settle(own, None, used, next);
            self.used += used;
            time
        }
    }

    #[test]
    fn who_ran_for_too_long_runs_for_less_the_next_time() {
        let mut thread = Rated::new();
        assert_eq!(thread.turn(30 * US as i64, Next::Ready), 100 * US);
        // Twice what it used, less what was too much.
        assert_eq!(thread.turn(0, Next::Ready), 230 * US);
        // That is settled.
        assert_eq!(thread.turn(0, Next::Ready), 460 * US);
    }

    #[test]
    fn who_always_runs_for_too_long_gets_no_more_than_others() {
        let (mut late, mut punctual) = (Rated::new(), Rated::new());
        for _ in 0..1_000 {
            late.turn(30 * US as i64, Next::Ready);
            punctual.turn(0, Next::Ready);
        }
        assert!(late.used.abs_diff(punctual.used) < punctual.used / 1_000);
    }

    #[test]
    fn a_host_function_of_any_length_leaves_half_of_the_next_turn() {
        let mut thread = Rated::new();
        thread.turn(5_000 * US as i64, Next::Ready);
        assert_eq!(thread.turn(0, Next::Ready), 1_000 * US - 50 * US);
        assert!(thread.turn(0, Next::Ready) >= 900 * US);
    }

    #[test]
    fn a_portion_that_was_not_used_leaves_what_is_owed() {
        let mut thread = Rated::new();
        thread.turn(30 * US as i64, Next::Ready);
        assert_eq!(thread.turn(-230 * US as i64, Next::Gone), 230 * US);
        assert_eq!(thread.turn(0, Next::Ready), 70 * US);
    }

    #[test]
    fn what_a_thread_that_waits_has_not_used_is_not_added_to_its_next_turn() {
        let mut thread = Rated::new();
        assert_eq!(thread.turn(-90 * US as i64, Next::Gone), 100 * US);
        assert_eq!(thread.turn(0, Next::Ready), 100 * US);
    }
}
