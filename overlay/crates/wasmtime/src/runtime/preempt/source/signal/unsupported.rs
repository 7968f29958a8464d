//! `Preemption::Signal` on machines other than x86-64 Linux: an error that says so.

use crate::prelude::*;
use crate::runtime::preempt::clock::Moment;
use crate::store::StoreOpaque;

pub(crate) mod host {
    use crate::Config;
    use crate::prelude::*;
    use wasmparser::WasmFeatures;
    use wasmtime_environ::Tunables;

    pub(crate) fn works_here() -> bool {
        false
    }

    pub(crate) fn ensure(_: &Config, _: &Tunables, _: WasmFeatures) -> Result<()> {
        bail!(
            "`Preemption::Signal` works on x86-64 Linux only: use `Preemption::Epoch`, \
             or let `Preemption::for_this_host` choose"
        )
    }
}

pub(super) mod watch {
    pub(in crate::runtime::preempt) struct Watch;

    impl Watch {
        pub(in crate::runtime::preempt) fn arm(&self) {}
    }
}

use self::watch::Watch;

#[derive(Default)]
pub(crate) struct SignalState;

impl StoreOpaque {
    pub(super) fn start_signals(&mut self, _: Option<Moment>) -> Result<()> {
        Ok(())
    }

    pub(super) fn stop_signals(&mut self) {}

    pub(super) fn ensure_signals_come(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn watch(&mut self) -> Watch {
        Watch
    }

    pub(super) fn watch_alone_no_more(&mut self) {}

    pub(super) fn watch_new_modules(&mut self) {}

    pub(super) fn signals_may_stop_code_at(&self, _: usize) -> bool {
        false
    }

    pub(super) fn watch_again_soon(&self) {}

    pub(super) fn watch_overdue_slice(&mut self) {}

    pub(super) fn signal_slice_is_over(&self) -> bool {
        false
    }
}
