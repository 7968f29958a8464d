//! Sequences of all that can be done to stores with guest threads, from several OS threads. After
//! each step, what a store says of its threads is what must be so, and its trace is one of a
//! schedule that keeps its promises. Every thread ends once, as it may, and nothing is left over.

mod apply;
mod checks;
mod gate;
mod guests;
mod op;
mod runs;
pub mod seeds;
mod spawn;
mod thread;
mod world;
mod write;

use arbitrary::{Result, Unstructured};
use guests::Guests;
use op::Op;
use world::World;

/// How many steps there are at most.
const STEPS: usize = 48;

pub fn run(data: &[u8]) {
    // An error means that there are no more choices.
    let _ = steps(&mut Unstructured::new(data));
}

fn steps(u: &mut Unstructured<'_>) -> Result<()> {
    let guests = Guests::choose(u)?;
    let mut worlds = [World::new(guests), World::new(guests)];
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let world = &mut worlds[usize::from(u.ratio(1, 8)?)];
        let op = Op::choose(guests.source, u)?;
        world.apply(op);
        world.check();
    }
    worlds.into_iter().for_each(World::end);
    Ok(())
}
