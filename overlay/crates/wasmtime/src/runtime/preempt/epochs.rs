//! How an epoch deadline is delivered: [`EpochDelivery`].

#[cfg(doc)]
use crate::{Config, Engine};

/// How guests learn that their store's epoch deadline is reached.
///
/// See [`Config::epoch_delivery`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EpochDelivery {
    /// Compiled code compares the epoch with the deadline when a function is entered and in
    /// loops.
    #[default]
    Check,
    /// [`Engine::increment_epoch`] signals the OS threads whose guests have reached their
    /// deadlines. Compiled code has no checks: it is what it is without epochs.
    Signal,
}
