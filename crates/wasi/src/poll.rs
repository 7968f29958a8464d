//! `poll_oneoff`: waits for the context's clocks itself, and asks upstream about descriptors
//! one at a time.

use crate::stdio::{Ready, Stdio, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{
    Clockid, Errno, Error, Event, EventFdReadwrite, Eventrwflags, Eventtype, Fd, Size,
    Subclockflags, Subscription, SubscriptionClock, SubscriptionU,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wiggle::{GuestMemory, GuestPtr, GuestType};

/// How many subscriptions a call may have: more than a process has descriptors, and few
/// enough to look at within a slice.
const MAX_SUBSCRIPTIONS: u32 = 4096;

/// A call of `poll_oneoff`. The subscriptions stay in the guest's memory and are read again
/// each time the thread wakes up.
pub struct Poll {
    pub subscriptions: GuestPtr<[Subscription]>,
    pub events: GuestPtr<[Event]>,
    start: Start,
}

/// What the clocks showed at the time of the call, in nanoseconds.
struct Start {
    monotonic: u64,
    realtime: u64,
}

/// The result of looking at all subscriptions.
pub enum Looked {
    /// This many events were written.
    Ready(Size),
    /// Look again after this time, or when one of these is ready.
    NotYet(Option<Duration>, Vec<Arc<dyn Ready>>),
}

impl Poll {
    pub fn new(
        context: &mut WasiP1Ctx,
        subscriptions: u32,
        events: u32,
        count: u32,
    ) -> Result<Poll> {
        Ok(Poll {
            subscriptions: GuestPtr::new((subscriptions, count)),
            events: GuestPtr::new((events, count)),
            start: Start::now(context)?,
        })
    }

    /// Looks at all subscriptions, and writes an event for each one that is ready.
    pub fn look(
        &self,
        context: &mut WasiP1Ctx,
        memory: &mut GuestMemory<'_>,
        fuel: usize,
    ) -> Result<Looked, Error> {
        self.check(fuel)?;
        let mut look = Look {
            start: &self.start,
            now: monotonic(context).map_err(Error::trap)?,
            stdio: Stdio::of(context).map_err(Error::trap)?,
            context,
            fuel,
            descriptors: BTreeMap::new(),
            until: None,
            asked: Vec::new(),
        };
        let mut ready = false;
        for subscription in self.subscriptions.iter() {
            let subscription = memory.read(subscription?)?;
            ready |= look.at(subscription)?.is_some();
        }
        if !ready {
            let left = look.until.map(|until| until.saturating_sub(look.now));
            return Ok(Looked::NotYet(left.map(Duration::from_nanos), look.asked));
        }
        let mut events = self.events.iter();
        let mut count = 0;
        for subscription in self.subscriptions.iter() {
            let subscription = memory.read(subscription?)?;
            if let Some(event) = look.at(subscription)?
                && let Some(place) = events.next()
            {
                memory.write(place?, event)?;
                count += 1;
            }
        }
        Ok(Looked::Ready(count))
    }

    /// What upstream checks before it looks at any subscription.
    fn check(&self, fuel: usize) -> Result<(), Error> {
        let count = self.subscriptions.len();
        if count == 0 {
            return Err(Errno::Inval.into());
        }
        if count > MAX_SUBSCRIPTIONS {
            return Err(Errno::Nomem.into());
        }
        let each = size_of::<Subscription>() + size_of::<Event>();
        match usize::try_from(count)?.checked_mul(each) {
            Some(needed) if needed <= fuel => Ok(()),
            _ => Err(Errno::Nomem.into()),
        }
    }
}

impl Start {
    fn now(context: &mut WasiP1Ctx) -> Result<Start> {
        let monotonic = monotonic(context)?;
        let realtime = wall_clock::Host::now(&mut context.clocks())?;
        Ok(Start {
            monotonic,
            realtime: realtime
                .seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(realtime.nanoseconds.into()),
        })
    }

    /// What the monotonic clock will show at the subscribed time, or its end if that is later.
    fn end(&self, clock: &SubscriptionClock) -> Result<u64, Error> {
        let absolute = clock
            .flags
            .contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME);
        let nanoseconds = match (clock.id, absolute) {
            (Clockid::Monotonic | Clockid::Realtime, false) => clock.timeout,
            (Clockid::Monotonic, true) => clock.timeout.saturating_sub(self.monotonic),
            (Clockid::Realtime, true) => clock.timeout.saturating_sub(self.realtime),
            _ => return Err(Errno::Inval.into()),
        };
        Ok(self.monotonic.saturating_add(nanoseconds))
    }
}

fn monotonic(context: &mut WasiP1Ctx) -> Result<u64> {
    monotonic_clock::Host::now(&mut context.clocks())
}

struct Look<'a> {
    start: &'a Start,
    /// What the monotonic clock shows.
    now: u64,
    context: &'a mut WasiP1Ctx,
    stdio: Stdio,
    fuel: usize,
    /// Upstream's answers, by direction and descriptor.
    descriptors: BTreeMap<(bool, u32), Option<(EventFdReadwrite, Errno)>>,
    /// The earliest time still to come.
    until: Option<u64>,
    asked: Vec<Arc<dyn Ready>>,
}

impl Look<'_> {
    /// The event of `subscription`, if it is ready.
    fn at(&mut self, subscription: Subscription) -> Result<Option<Event>, Error> {
        let userdata = subscription.userdata;
        let (fd, writes) = match &subscription.u {
            SubscriptionU::Clock(clock) => {
                let end = self.start.end(clock)?;
                if end <= self.now {
                    return Ok(Some(Event {
                        userdata,
                        error: Errno::Success,
                        type_: Eventtype::Clock,
                        fd_readwrite: EventFdReadwrite {
                            flags: Eventrwflags::empty(),
                            nbytes: 0,
                        },
                    }));
                }
                self.until = Some(self.until.map_or(end, |until| until.min(end)));
                return Ok(None);
            }
            SubscriptionU::FdRead(read) => (read.file_descriptor, false),
            SubscriptionU::FdWrite(write) => (write.file_descriptor, true),
        };
        let type_ = match writes {
            true => Eventtype::FdWrite,
            false => Eventtype::FdRead,
        };
        let said = self.descriptor(fd, writes, subscription)?;
        Ok(said.map(|(fd_readwrite, error)| Event {
            userdata,
            error,
            type_,
            fd_readwrite,
        }))
    }

    /// Asks upstream about `subscription`, which is for this descriptor, on its own.
    fn descriptor(
        &mut self,
        fd: Fd,
        writes: bool,
        subscription: Subscription,
    ) -> Result<Option<(EventFdReadwrite, Errno)>, Error> {
        let key = (writes, u32::from(fd));
        if let Some(said) = self.descriptors.get(&key) {
            return Ok(said.clone());
        }
        // A private memory for one subscription and its event.
        const LEN: u32 = 128;
        let mut bytes = [0; 2 * LEN as usize];
        let aligned = bytes.as_ptr().align_offset(align_of::<u64>());
        let bytes = &mut bytes[aligned..aligned + LEN as usize];
        let mut memory = GuestMemory::Unshared(bytes);
        let (at, event_at) = (
            GuestPtr::<Subscription>::new(0),
            GuestPtr::<Event>::new(Subscription::guest_size()),
        );
        memory.write(at, subscription)?;
        self.context.set_hostcall_fuel(self.fuel);
        let polled = self.context.poll_oneoff(&mut memory, at, event_at, 1);
        let said = match self.stdio.drive(polled) {
            Step::Done(count) => {
                count?;
                let event = memory.read(event_at)?;
                Some((event.fd_readwrite, event.error))
            }
            Step::Asked(asked) => {
                self.asked.extend(asked);
                None
            }
        };
        self.descriptors.insert(key, said.clone());
        Ok(said)
    }
}
