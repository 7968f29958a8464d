//! xtask against a small upstream: a crate registry on this machine, three
//! crates of one repository, and one that is not part of it. And what must hold
//! for the files of our own.

mod adopt;
mod busy;
mod dist;
mod embedders;
mod failures;
mod fixture;
mod layout;
mod local_work;
mod moves;
mod patches;
mod ports;
mod registry;
mod repository;
mod submissions;
mod updates;
