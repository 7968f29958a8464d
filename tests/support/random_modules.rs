//! Random modules, what they are called with, and what is looked at afterwards: as for the fuzz
//! targets.

use super::Random;
use arbitrary::Unstructured;
use preempt_fuzzing::modules::Shape;
use wasmtime::*;

pub use preempt_fuzzing::modules::{argument, bits, limited_store, state};

/// How many calls and iterations of loops a module may make in all.
const STEPS: u32 = 20_000;

/// A module with references, exceptions, vectors, and tables and memories that grow. It imports
/// nothing, exports everything, and ends.
pub fn module_with_references(random: &mut Random) -> Option<Vec<u8>> {
    let seed: Vec<u8> = (0..3_000).map(|_| random.below(256) as u8).collect();
    let shape = Shape {
        imports: 0,
        gc: true,
        exceptions: true,
        no_traps: random.below(4) > 0,
        steps: STEPS,
    };
    shape.module(&mut Unstructured::new(&seed))
}

/// Parameters for a function of this type, and `None` if there is no such value at hand.
pub fn arguments(ty: &FuncType, random: &mut Random) -> Option<Vec<Val>> {
    let arguments = ty.params().map(|ty| argument(&ty, random.below(100)));
    arguments.collect()
}
