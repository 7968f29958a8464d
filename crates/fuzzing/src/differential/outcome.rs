//! Calls, and what becomes of them.

use wasmtime::*;

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub result: Result<Vec<u128>, Option<Trap>>,
    /// `None` where compiled code has not written back its count: after a stack overflow or a trap
    /// in the middle of a straight line.
    pub fuel: Option<u64>,
    pub state: u64,
    /// Whether it depends on nothing but the module: not on how large frames are, and on how much
    /// others have allocated.
    pub of_the_module: bool,
}

impl Outcome {
    /// What was counted is left out where it is not exact.
    pub fn new(result: Result<Vec<u128>>, fuel: Option<u64>, state: u64) -> Outcome {
        let of_the_module = match &result {
            Ok(_) => true,
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(Trap::StackOverflow | Trap::AllocationTooLarge) => false,
                Some(_) => true,
                None => error.is::<ThrownException>(),
            },
        };
        let result = result.map_err(|error| error.downcast_ref::<Trap>().copied());
        let exact = matches!(
            result,
            Ok(_) | Err(Some(Trap::UnreachableCodeReached | Trap::OutOfFuel))
        );
        Outcome {
            result,
            fuel: fuel.filter(|_| exact),
            state,
            of_the_module,
        }
    }
}

/// A call of an export, and what becomes of it.
pub struct Call {
    pub export: String,
    pub arguments: Vec<Val>,
    pub outcome: Outcome,
}
