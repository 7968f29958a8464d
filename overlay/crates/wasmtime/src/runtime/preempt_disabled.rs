//! What upstream's files find in place of `preempt.rs` without the feature
//! `preemptive-threads`: the same names, with types that are empty or upstream's own, and
//! functions that do nothing.

#![cfg_attr(
    not(feature = "default"),
    allow(
        dead_code,
        reason = "other features decide what is called, and the default ones call everything"
    )
)]

#[cfg(target_has_atomic = "64")]
pub(crate) type EpochCounter = core::sync::atomic::AtomicU64;

#[derive(Clone, Copy)]
pub(crate) enum Preemption {}

/// Compiled code checks for itself.
#[derive(Clone, Default)]
pub(crate) struct EpochDelivery;

impl crate::Engine {
    #[inline]
    pub(crate) fn delivers_epochs_by_signal(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn deliver_epoch(&self) {}
}

pub(crate) mod config {
    use super::EpochDelivery;
    use crate::Config;
    use crate::prelude::*;
    use wasmparser::WasmFeatures;
    use wasmtime_environ::Tunables;

    #[inline]
    pub(crate) fn configure(config: &Config, _: &mut Tunables, _: WasmFeatures) -> Result<()> {
        let EpochDelivery = config.epoch_delivery;
        match config.preemption {
            Some(preemption) => match preemption {},
            None => Ok(()),
        }
    }
}

#[cfg(feature = "runtime")]
pub(crate) use self::store::*;

#[cfg(feature = "runtime")]
mod store {
    use super::suspend::Taken;
    use crate::prelude::*;
    use crate::store::StoreOpaque;
    use core::num::NonZeroU64;

    #[derive(Default)]
    pub(crate) struct StoreThreads;

    #[cfg(feature = "gc")]
    impl StoreThreads {
        #[inline]
        pub(crate) fn trace_gc_roots(
            &mut self,
            _: &crate::module::ModuleRegistry,
            _: &dyn crate::runtime::vm::Unwind,
            _: &mut crate::runtime::vm::GcRootsList,
        ) {
        }
    }

    #[inline]
    pub(crate) fn take_blocking_context(_: &mut StoreOpaque) -> Option<Taken> {
        None
    }

    impl StoreOpaque {
        #[inline]
        pub(crate) fn attach_time_deadline(&mut self) -> bool {
            false
        }

        #[inline]
        pub(crate) fn detach_time_deadline(&mut self, _: bool) {}

        #[inline]
        pub(crate) fn drop_preemptive_threads(&mut self) {}

        #[inline]
        pub(crate) fn inject_fuel_for_slices(&mut self) {}

        #[inline]
        pub(crate) fn fuel_interval(&mut self, _: u64) -> Option<NonZeroU64> {
            self.fuel_yield_interval
        }

        #[cfg(target_has_atomic = "64")]
        #[inline]
        pub(crate) fn set_embedder_epoch_deadline(&mut self, _: u64) -> bool {
            false
        }

        #[inline]
        pub(crate) fn new_module_joins_threads(&mut self) {}

        #[inline]
        pub(crate) fn guests_may_be_in_mid_operation(&self) -> bool {
            false
        }

        #[inline]
        pub(crate) fn ensure_table_is_at_rest(&self, _: &crate::Table) -> Result<()> {
            Ok(())
        }

        #[inline]
        pub(crate) fn ensure_memory_is_at_rest(
            &self,
            _: crate::store::InstanceId,
            _: wasmtime_environ::DefinedMemoryIndex,
        ) -> Result<()> {
            Ok(())
        }

        #[inline]
        pub(crate) fn can_suspend(&mut self) -> bool {
            self.can_block()
        }

        #[cfg(feature = "gc")]
        #[inline]
        pub(crate) fn asyncness_of_gc(
            &self,
            asyncness: crate::store::Asyncness,
        ) -> crate::store::Asyncness {
            asyncness
        }

        #[inline]
        pub(crate) fn start_waking_guest_threads(&mut self) {}

        #[inline]
        pub(crate) fn finish_waking_guest_threads(&mut self) {}
    }
}

#[cfg(feature = "runtime")]
pub(crate) mod epoch_delivery {
    use crate::prelude::*;
    use crate::store::StoreOpaque;

    impl StoreOpaque {
        #[inline]
        pub(crate) fn deliver_epochs_by_signal(&mut self) {}

        #[inline]
        pub(crate) fn set_first_epoch_deadline(&mut self) {}

        #[inline]
        pub(crate) fn go_on_in_wasm(&self) {}

        #[inline]
        pub(crate) fn replace_sealed(&self, _: bool) -> bool {
            false
        }

        pub(crate) fn ensure_unsealed(&self, _: &str) -> Result<()> {
            Ok(())
        }
    }

    pub(crate) mod calls {
        use crate::prelude::*;
        use crate::runtime::vm::{VMContext, VMStore, VMStoreContext};
        use crate::store::StoreOpaque;
        use core::ptr::NonNull;

        pub(crate) struct InWasm;

        #[inline]
        pub(crate) fn prepare(_: &StoreOpaque) -> Result<()> {
            Ok(())
        }

        #[inline]
        pub(crate) fn enter(_: &mut dyn VMStore) -> Result<InWasm> {
            Ok(InWasm)
        }

        pub(crate) struct HostCall;

        impl HostCall {
            /// # Safety
            ///
            /// None is needed.
            #[inline]
            pub(crate) unsafe fn begin(_: NonNull<VMContext>) -> HostCall {
                HostCall
            }

            #[inline]
            pub(crate) fn of_component(_: &mut dyn VMStore) -> HostCall {
                HostCall
            }

            /// # Safety
            ///
            /// None is needed.
            #[inline]
            pub(crate) unsafe fn end(self) {}
        }

        /// # Safety
        ///
        /// None is needed.
        #[inline]
        pub(crate) unsafe fn resumed(_: NonNull<VMStoreContext>) {}
    }
}

#[cfg(feature = "runtime")]
pub(crate) mod suspend {
    use crate::store::StoreOpaque;

    pub(crate) enum Taken {}

    #[cfg(feature = "async")]
    impl Taken {
        #[inline]
        pub(crate) fn get_mut(&mut self) -> &mut crate::fiber::BlockingContext<'static, 'static> {
            match *self {}
        }
    }

    #[inline]
    pub(crate) fn take(_: &StoreOpaque) -> Option<Taken> {
        None
    }
}

/// Upstream's files have this in `preempt/components.rs`.
#[cfg(all(feature = "runtime", feature = "component-model"))]
pub(crate) mod components {
    use crate::component::__internal::LowerContext;
    use crate::component::ComponentInstanceId;
    use crate::prelude::*;
    use crate::runtime::vm::VMStore;
    use crate::store::StoreOpaque;

    #[inline]
    pub(crate) fn may_enter(_: &StoreOpaque, _: ComponentInstanceId) -> bool {
        true
    }

    #[inline]
    pub(crate) fn tasks(_: &mut StoreOpaque) -> Result<()> {
        Ok(())
    }

    #[inline]
    pub(crate) fn after_call<R>(_: &mut StoreOpaque, _: (), result: Result<R>) -> Result<R> {
        result
    }

    #[inline]
    pub(crate) fn while_lowering<'a, T, R>(
        lower: &mut LowerContext<'a, T>,
        f: impl FnOnce(&mut LowerContext<'a, T>) -> R,
    ) -> R {
        f(lower)
    }

    #[inline]
    pub(crate) fn enter(_: &mut StoreOpaque, _: ComponentInstanceId) -> Result<()> {
        Ok(())
    }

    #[inline]
    pub(crate) fn enter_to_lower(_: &mut StoreOpaque, _: ComponentInstanceId) -> Result<()> {
        Ok(())
    }

    #[inline]
    pub(crate) fn begin(_: &mut StoreOpaque, _: ComponentInstanceId) {}

    #[inline]
    pub(crate) fn leave(_: &mut StoreOpaque, _: ComponentInstanceId) {}

    #[inline]
    pub(crate) fn trapped(_: &mut StoreOpaque) -> bool {
        false
    }

    #[cfg(feature = "component-model-async")]
    #[inline]
    pub(crate) fn ensure_tasks_may_wait(_: &StoreOpaque) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "component-model-async")]
    #[inline]
    pub(crate) fn park_until<R, F: Future<Output = Result<R>>>(
        _: &mut dyn VMStore,
        future: F,
    ) -> Result<Result<R>, F> {
        Err(future)
    }
}

#[cfg(all(feature = "runtime", feature = "threads"))]
pub(crate) mod atomic {
    use crate::prelude::*;
    use crate::runtime::vm::{VMStore, WaitResult};
    use crate::store::InstanceId;
    use core::time::Duration;
    use wasmtime_environ::DefinedMemoryIndex;

    #[inline]
    pub(crate) fn wait<E>(
        _: &mut dyn VMStore,
        _: InstanceId,
        _: DefinedMemoryIndex,
        _address: u64,
        _expected: E,
        _timeout: Option<Duration>,
    ) -> Result<Option<WaitResult>> {
        Ok(None)
    }
}

#[cfg(feature = "runtime")]
pub(crate) mod source {
    pub(crate) mod fuel {
        use crate::prelude::*;
        use crate::runtime::vm::VMStore;
        use crate::store::StoreOpaque;

        #[inline]
        pub(crate) fn out_of_gas(_: &mut dyn VMStore) -> Result<bool> {
            Ok(false)
        }

        #[inline]
        pub(crate) fn charge_bulk(_: &mut StoreOpaque, _cost: u64, _done: bool) -> Result<bool> {
            Ok(false)
        }

        #[inline]
        pub(crate) fn check_bulk(_: &mut StoreOpaque, _cost: u64) -> Result<bool> {
            Ok(false)
        }
    }

    #[cfg(target_has_atomic = "64")]
    pub(crate) mod epoch {
        use crate::UpdateDeadline;
        use crate::prelude::*;
        use crate::runtime::vm::VMStore;

        #[inline]
        pub(crate) fn new_epoch(_: &mut dyn VMStore) -> Result<Option<u64>> {
            Ok(None)
        }

        #[inline]
        pub(crate) fn yield_and_update(
            _: &mut dyn VMStore,
            _: &UpdateDeadline,
        ) -> Result<Option<u64>> {
            Ok(None)
        }
    }

    pub(crate) mod host_call {
        use crate::runtime::vm::VMContext;
        use core::ptr::NonNull;

        #[derive(Clone, Copy)]
        pub(crate) enum End {
            Suspend,
        }

        impl End {
            pub(crate) const fn of_libcall(_name: &str) -> End {
                End::Suspend
            }
        }

        pub(crate) struct HostCall;

        impl HostCall {
            /// # Safety
            ///
            /// None is needed.
            #[inline]
            pub(crate) unsafe fn begin(_: NonNull<VMContext>, _: End) -> HostCall {
                HostCall
            }

            #[inline]
            pub(crate) fn of_component(_: &crate::store::StoreOpaque) -> HostCall {
                HostCall
            }

            #[inline]
            pub(crate) fn end(self, _: impl FnOnce()) {}
        }
    }

    pub(crate) mod host_return {
        use super::host_call::End;
        use crate::ValRaw;
        use crate::prelude::*;
        use crate::runtime::vm::{VMContext, VMOpaqueContext, VMStore};
        use core::ptr::NonNull;

        #[inline]
        pub(crate) fn in_libcall(_: &mut dyn VMStore) -> Result<()> {
            Ok(())
        }

        #[cfg(feature = "component-model")]
        #[inline]
        pub(crate) fn after_piece(_: &mut dyn VMStore, _cost: usize) -> Result<()> {
            Ok(())
        }

        /// # Safety
        ///
        /// None is needed.
        pub(crate) unsafe fn after_function(
            _callee: NonNull<VMOpaqueContext>,
            _caller: NonNull<VMContext>,
            _: NonNull<ValRaw>,
            _returned: bool,
        ) {
        }

        /// # Safety
        ///
        /// None is needed.
        pub(crate) unsafe fn after_libcall(_: NonNull<VMContext>, _: End) {}

        /// # Safety
        ///
        /// None is needed.
        #[cfg(feature = "component-model")]
        pub(crate) unsafe fn after_component_call(_: NonNull<dyn VMStore>) {}
    }
}
