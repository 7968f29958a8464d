//! `EpochDelivery::Signal` on machines other than x86-64 and aarch64 Linux: an error that says so.

use crate::prelude::*;
use crate::store::StoreOpaque;
use crate::{Config, Engine};
use wasmparser::WasmFeatures;
use wasmtime_environ::Tunables;

/// There is none.
pub(crate) enum Delivery {}

impl Engine {
    pub(crate) fn delivers_epochs_by_signal(&self) -> bool {
        false
    }

    pub(crate) fn deliver_epoch(&self) {}
}

pub(super) fn ensure(_: &Config, _: &Tunables, _: WasmFeatures) -> Result<()> {
    bail!(
        "`EpochDelivery::Signal` works on x86-64 and aarch64 Linux only: use `EpochDelivery::Check`"
    )
}

impl StoreOpaque {
    pub(crate) fn deliver_epochs_by_signal(&mut self) {}

    pub(crate) fn go_on_in_wasm(&self) {}

    pub(crate) fn override_epoch_deadline(&self) {}

    pub(crate) fn watch_time(&self, _: u64) -> Result<()> {
        Ok(())
    }

    pub(crate) fn unwatch_time(&self) {}

    pub(crate) fn replace_sealed(&self, _: bool) -> bool {
        false
    }

    pub(crate) fn ensure_unsealed(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

pub(crate) mod calls {
    use crate::prelude::*;
    use crate::runtime::preempt::time_deadline::state::Attached;
    use crate::runtime::vm::{VMContext, VMStore, VMStoreContext};
    use crate::store::StoreOpaque;
    use core::ptr::NonNull;

    pub(crate) struct InWasm {
        _attached: Attached,
    }

    pub(crate) fn prepare(_: &StoreOpaque) -> Result<()> {
        Ok(())
    }

    pub(crate) fn enter(store: &mut StoreOpaque) -> Result<InWasm> {
        Ok(InWasm {
            _attached: Attached::attach(store),
        })
    }

    pub(crate) struct HostCall;

    impl HostCall {
        pub(crate) unsafe fn begin(_: NonNull<VMContext>) -> HostCall {
            HostCall
        }

        pub(crate) fn of_component(_: &mut dyn VMStore) -> HostCall {
            HostCall
        }

        pub(crate) unsafe fn end(self) {}
    }

    pub(crate) unsafe fn resumed(_: NonNull<VMStoreContext>) {}
}
