//! What the tests share.

mod burners;
mod counted;
mod engines;
mod futures;
mod guests;
mod process;
mod random;
mod random_modules;
mod sources;
mod stacks;
mod threads;
mod traces;

pub use burners::*;
pub use counted::*;
pub use engines::*;
pub use futures::*;
pub use guests::*;
pub use process::*;
pub use random::*;
pub use random_modules::*;
pub use sources::*;
pub use stacks::*;
pub use threads::*;
pub use traces::*;
