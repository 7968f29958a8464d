//! Calls of components as guest threads that take turns in a few instances: resources are lent and
//! given away, strings are passed both ways through a `realloc` that takes its time, and calls are
//! killed, suspended and over limits anywhere. Each call returns what it must, or ends as it may;
//! what was lent can be used and dropped; nothing outlives the store.

mod ends;
mod guests;
mod host;
mod op;
pub mod seeds;
mod world;

use crate::source;
use arbitrary::{Result, Unstructured};
use guests::Guests;
use op::Op;
use world::World;

/// How many steps there are at most.
const STEPS: usize = 32;

pub fn run(data: &[u8]) {
    // An error means that there are no more choices.
    let _ = steps(&mut Unstructured::new(data));
}

fn steps(u: &mut Unstructured<'_>) -> Result<()> {
    let guests = Guests::choose(u)?;
    let slice = source::slice(guests.source, u)?;
    let mut world = World::new(guests, slice);
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        world.apply(Op::choose(u)?);
        world.check();
    }
    world.end();
    Ok(())
}
