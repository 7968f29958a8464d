//! What processes with threads do, one file per behaviour.

mod support;

mod atomics;
mod bad_modules;
mod churn;
mod deadlocks;
mod dropping;
mod ends;
mod fixtures;
mod from_outside;
mod limits;
mod races;
mod recycling;
mod side_by_side;
mod spinning;
mod starting;
mod tids;
mod zstd;
