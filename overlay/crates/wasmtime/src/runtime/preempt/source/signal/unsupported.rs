//! `Preemption::Signal` on machines other than x86-64 and aarch64 Linux: an error that says so.

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
            "`Preemption::Signal` works on x86-64 and aarch64 Linux only: use `Preemption::Epoch`, \
             or let `Preemption::for_this_host` choose"
        )
    }
}

pub(in crate::runtime::preempt) mod watch {
    pub(in crate::runtime::preempt) struct Watch;

    impl Watch {
        pub(in crate::runtime::preempt) fn arm(&self) {}
    }
}

use self::watch::Watch;

#[derive(Default)]
pub(crate) struct SignalState;

impl StoreOpaque {
    pub(in crate::runtime::preempt) fn start_signals(&mut self, _: Option<Moment>) -> Result<()> {
        Ok(())
    }

    pub(in crate::runtime::preempt) fn stop_signals(&mut self) {}

    pub(in crate::runtime::preempt) fn ensure_signals_come(&self) -> Result<()> {
        Ok(())
    }

    pub(in crate::runtime::preempt) fn watch(&mut self) -> Watch {
        Watch
    }

    pub(in crate::runtime::preempt) fn watch_alone_no_more(&mut self) {}

    pub(in crate::runtime::preempt) fn watch_new_modules(&mut self) {}

    pub(in crate::runtime::preempt) fn signals_may_stop_code_at(&self, _: usize) -> bool {
        false
    }

    pub(in crate::runtime::preempt) fn watch_again_soon(&self) {}

    pub(in crate::runtime::preempt) fn watch_overdue_slice(&mut self) {}

    pub(in crate::runtime::preempt) fn signal_slice_is_over(&self) -> bool {
        false
    }
}
