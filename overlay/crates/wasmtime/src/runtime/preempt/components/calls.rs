//! Which thread is in which component instance, and who waits for one.

use crate::prelude::*;
use crate::runtime::preempt::id::ThreadId;
use std::collections::{HashMap, HashSet, VecDeque};

/// The component instances of a store.
#[derive(Default)]
pub(in crate::runtime::preempt) struct Components {
    /// The calls that have entered an instance, by its index.
    pub(super) entered: Vec<Option<Call>>,
    /// The instances that guest threads are in, of each the one that it entered last.
    pub(super) innermost: HashMap<ThreadId, usize>,
    /// Those that nobody may enter any more.
    pub(super) shut: HashSet<usize>,
    /// Who waits for which, in the order in which they came.
    waiting: VecDeque<(usize, ThreadId)>,
    /// How many threads are off the CPU between two pieces of an operation on their memories.
    pub(super) between_pieces: usize,
}

/// A call of a component.
pub(super) struct Call {
    /// The guest thread that makes it, or `None` if it is a plain call.
    pub(super) thread: Option<ThreadId>,
    /// The instance that the thread entered before.
    pub(super) outer: Option<usize>,
    pub(super) first: Entrance,
    /// Those in which it has entered the instance again: upstream refuses that only with
    /// concurrency.
    pub(super) more: Vec<Entrance>,
}

pub(super) struct Entrance {
    /// The youngest activation then, by address.
    pub(super) activation: usize,
    /// How many tasks there were then.
    pub(super) tasks: usize,
    /// Whether the guest has begun with it: before, it leaves nothing in the middle if it fails.
    pub(super) begun: bool,
}

impl Call {
    pub(super) fn entrances(&self) -> impl Iterator<Item = &Entrance> + Clone {
        core::iter::once(&self.first).chain(&self.more)
    }
}

impl Components {
    /// The call that has entered `instance`.
    pub(super) fn call(&self, instance: usize) -> Option<&Call> {
        self.entered.get(instance)?.as_ref()
    }

    pub(super) fn call_mut(&mut self, instance: usize) -> Option<&mut Call> {
        self.entered.get_mut(instance)?.as_mut()
    }

    /// `call` enters `instance`, which nobody else is in.
    pub(super) fn enter(&mut self, instance: usize, mut call: Call) {
        if let Some(thread) = call.thread {
            call.outer = self.innermost.insert(thread, instance);
        }
        if self.entered.len() <= instance {
            self.entered.resize_with(instance + 1, || None);
        }
        self.entered[instance] = Some(call);
    }

    /// Nobody is in `instance` any more.
    pub(super) fn remove(&mut self, instance: usize) {
        let call = self.entered.get_mut(instance).and_then(Option::take);
        let Some(Call {
            thread: Some(thread),
            outer,
            ..
        }) = call
        else {
            return;
        };
        let innermost = self.innermost.get(&thread).copied();
        if innermost != Some(instance) {
            let inner = self
                .of(thread)
                .find(|(_, call)| call.outer == Some(instance))
                .map(|(inner, _)| inner);
            if let Some(call) = inner.and_then(|inner| self.call_mut(inner)) {
                call.outer = outer;
            }
            return;
        }
        match outer {
            Some(outer) => self.innermost.insert(thread, outer),
            None => self.innermost.remove(&thread),
        };
    }

    /// The calls in which `thread` is, from the innermost one out.
    pub(super) fn of(&self, thread: ThreadId) -> impl Iterator<Item = (usize, &Call)> {
        let mut next = self.innermost.get(&thread).copied();
        core::iter::from_fn(move || {
            let instance = next?;
            let call = self.call(instance)?;
            next = call.outer;
            Some((instance, call))
        })
    }

    /// Who is let in next.
    pub(super) fn leave(&mut self, instance: usize) -> Option<ThreadId> {
        self.remove(instance);
        let mut waiting = self.waiting.iter();
        let next = waiting.position(|(wanted, _)| *wanted == instance)?;
        self.waiting.remove(next).map(|(_, id)| id)
    }

    /// Lets nobody in any more. Returns who waited for that.
    pub(super) fn shut(&mut self, instance: usize) -> Vec<ThreadId> {
        self.remove(instance);
        self.shut.insert(instance);
        let of_it = |(wanted, _): &(usize, ThreadId)| *wanted == instance;
        let waited = self.waiting.iter().filter(|waiting| of_it(waiting));
        let waited = waited.map(|(_, id)| *id).collect();
        self.waiting.retain(|waiting| !of_it(waiting));
        waited
    }

    /// Thread `id` waits for `instance`: in front of all others if it was let in before.
    pub(super) fn wait(&mut self, instance: usize, id: ThreadId, in_front: bool) {
        match self.waiting.contains(&(instance, id)) {
            // It was woken for another reason.
            true => {}
            false if in_front => self.waiting.push_front((instance, id)),
            false => self.waiting.push_back((instance, id)),
        }
    }

    /// Thread `id` waits for `instance` no more, and enters it or not. Returns who is let in
    /// instead.
    pub(super) fn wait_no_more(
        &mut self,
        instance: usize,
        id: ThreadId,
        enters: bool,
    ) -> Option<ThreadId> {
        let len = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != (instance, id));
        let was_let_in = self.waiting.len() == len;
        match was_let_in && !enters && self.call(instance).is_none() {
            true => self.leave(instance),
            false => None,
        }
    }
}
