//! The two levels of [`WeightedFair`](crate::WeightedFair): a line of groups and of
//! threads without one, and in each group a line of its threads.
//!
//! 1. A thread competes in its line while it is ready or running, and is queued there
//!    while it is ready.
//! 2. A group competes while one of its threads does. It is queued while one of its
//!    threads is, even while another one runs.
//! 3. What a thread of a group uses is charged to both.

use crate::line::{Line, Share};
use crate::table::{State, shrink};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use wasmtime::ThreadId;

/// A competitor on the upper level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entity {
    Thread(ThreadId),
    Group(u64),
}

/// A thread.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    group: u64,
    share: Share,
}

impl Member {
    pub(crate) fn new(group: u64, weight: u32) -> Self {
        Member {
            group,
            share: Share::new(weight),
        }
    }
}

#[derive(Clone, Debug)]
struct Group {
    share: Share,
    line: Line<Entity>,
    /// Live threads, in any state.
    threads: usize,
    /// Those that are competing.
    active: usize,
    queued: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Levels {
    request: u64,
    top: Line<Entity>,
    groups: HashMap<u64, Group>,
}

impl Levels {
    pub(crate) fn new(request: u64) -> Self {
        Levels {
            request,
            top: Line::new(request),
            groups: HashMap::new(),
        }
    }

    /// Ignores group 0, which is not a group.
    pub(crate) fn set_group_weight(&mut self, group: u64, weight: u32) {
        let key = Entity::Group(group);
        if let Some(at) = group_entry(&mut self.groups, group, self.request) {
            if at.queued {
                self.top.unqueue(key, &at.share);
            }
            self.top.reweigh(&mut at.share, weight, at.active > 0);
            if at.queued {
                self.top.queue(key, &at.share);
            }
        }
        self.forget_if_unused(group);
    }

    /// Adds a new thread, which does not compete yet.
    pub(crate) fn add(&mut self, member: &Member) {
        if let Some(group) = group_entry(&mut self.groups, member.group, self.request) {
            group.threads += 1;
        }
    }

    /// Removes a thread that does not compete.
    pub(crate) fn remove(&mut self, member: &Member) {
        if let Some(group) = self.groups.get_mut(&member.group) {
            group.threads -= 1;
        }
        self.forget_if_unused(member.group);
    }

    /// A thread starts to compete: as ready if `ready`, else as running.
    pub(crate) fn admit(&mut self, thread: ThreadId, ready: bool, member: &mut Member) {
        let line = self.line(member.group);
        line.join(&mut member.share);
        if ready {
            line.queue(Entity::Thread(thread), &member.share);
        }
        if let Some(group) = self.groups.get_mut(&member.group) {
            group.active += 1;
            if group.active == 1 {
                self.top.join(&mut group.share);
            }
        }
        self.book(member.group, 0);
    }

    /// A running thread becomes ready.
    pub(crate) fn give_back(&mut self, thread: ThreadId, used: u64, member: &mut Member) {
        let line = self.line(member.group);
        line.charge(&mut member.share, used);
        line.queue(Entity::Thread(thread), &member.share);
        self.book(member.group, used);
    }

    /// A thread stops competing, if it was. `used` counts if it was running.
    pub(crate) fn withdraw(
        &mut self,
        thread: ThreadId,
        was: State,
        used: u64,
        member: &mut Member,
    ) {
        let line = self.line(member.group);
        let used = match was {
            State::Parked => return,
            State::Ready => {
                line.unqueue(Entity::Thread(thread), &member.share);
                0
            }
            State::Running => {
                line.charge(&mut member.share, used);
                used
            }
        };
        line.leave(&member.share);
        self.book(member.group, used);
        if let Some(group) = self.groups.get_mut(&member.group) {
            group.active -= 1;
            if group.active == 0 {
                self.top.leave(&group.share);
            }
        }
    }

    pub(crate) fn change(
        &mut self,
        thread: ThreadId,
        state: State,
        group: u64,
        weight: u32,
        member: &mut Member,
    ) {
        let weight = weight.max(1);
        let ready = state == State::Ready;
        if group != member.group {
            self.withdraw(thread, state, 0, member);
            self.remove(member);
            *member = Member::new(group, weight);
            self.add(member);
            if state != State::Parked {
                self.admit(thread, ready, member);
            }
        } else if weight != member.share.weight() {
            let line = self.line(group);
            if ready {
                line.unqueue(Entity::Thread(thread), &member.share);
            }
            line.reweigh(&mut member.share, weight, state != State::Parked);
            if ready {
                line.queue(Entity::Thread(thread), &member.share);
            }
        }
    }

    /// Takes the next thread out of the queue.
    pub(crate) fn pick(&mut self) -> Option<ThreadId> {
        match self.top.pick()? {
            Entity::Thread(thread) => Some(thread),
            Entity::Group(id) => {
                let group = self.groups.get_mut(&id)?;
                group.queued = false;
                let picked = group.line.pick();
                self.book(id, 0);
                match picked? {
                    Entity::Thread(thread) => Some(thread),
                    Entity::Group(_) => None,
                }
            }
        }
    }

    /// The line in which threads of this group compete.
    fn line(&mut self, group: u64) -> &mut Line<Entity> {
        match self.groups.get_mut(&group) {
            Some(group) => &mut group.line,
            None => &mut self.top,
        }
    }

    /// Charges `used` ticks to the group, if it is one, and restores rule 2.
    fn book(&mut self, group: u64, used: u64) {
        let Some(at) = self.groups.get_mut(&group) else {
            return;
        };
        let ready = at.line.has_queued();
        if used == 0 && at.queued == ready {
            return;
        }
        let key = Entity::Group(group);
        if at.queued {
            self.top.unqueue(key, &at.share);
        }
        self.top.charge(&mut at.share, used);
        if ready {
            self.top.queue(key, &at.share);
        }
        at.queued = ready;
    }

    fn forget_if_unused(&mut self, group: u64) {
        if let Entry::Occupied(at) = self.groups.entry(group)
            && at.get().threads == 0
            && at.get().share.weight() == 1
        {
            at.remove();
            shrink(&mut self.groups);
        }
    }
}

/// `None` for 0, which is not a group.
fn group_entry(groups: &mut HashMap<u64, Group>, group: u64, request: u64) -> Option<&mut Group> {
    (group != 0).then(|| {
        groups.entry(group).or_insert_with(|| Group {
            share: Share::new(1),
            line: Line::new(request),
            threads: 0,
            active: 0,
            queued: false,
        })
    })
}
