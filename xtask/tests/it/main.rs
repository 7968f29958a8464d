//! xtask against a small upstream: a crate registry on this machine, three
//! crates of one repository, and one that is not part of it.

mod failures;
mod fixture;
mod layout;
mod local_work;
mod patches;
mod registry;
mod updates;
