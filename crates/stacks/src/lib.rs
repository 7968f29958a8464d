//! A slab of stacks: a few large mappings that are cut into stacks of one size.
//!
//! Wasmtime's on-demand allocator maps each stack by itself. That takes two of the 65,530
//! mappings that a Linux process may have by default, so 32,000 guest threads are the most. A
//! [`StackSlab`] has as many stacks as there is memory for, and making one takes a fraction of
//! the time. Set it with [`StackSlab::configure`]; nothing else changes.
//!
//! ```
//! use preempt_stacks::StackSlab;
//! use wasmtime::*;
//!
//! # fn main() -> Result<()> {
//! // 124 KiB, and a guard page below: 128 KiB of address space for each.
//! let stacks = StackSlab::new(124 << 10)?;
//! let mut config = Config::new();
//! config.preemption(Preemption::Fuel);
//! stacks.configure(&mut config);
//! let engine = Engine::new(&config)?;
//! let mut store = Store::new(&engine, ());
//! store.wasm_threads().set_max_threads(20_000)?;
//! let module = Module::new(&engine, r#"(module (func (export "run")))"#)?;
//! let run = Instance::new(&mut store, &module, &[])?.get_func(&mut store, "run").unwrap();
//! for _ in 0..20_000 {
//!     store.spawn_wasm_thread(run, &[])?;
//! }
//! assert_eq!(stacks.usage().in_use, 20_000);
//! # Ok(())
//! # }
//! ```
//!
//! A slab may serve several engines, and all their stores on all OS threads. It lives as long as
//! any of its stacks or an engine that was configured with it. `docs/scale.md` has figures, and
//! tells how to choose the size.

// The files:
//
//  lib.rs          the slab, as an embedder and Wasmtime see it
//    |
//  regions.rs      which stacks are in use, warm, cold or were never used
//    |
//  mapping.rs      system calls          limits.rs  why one has failed
#![cfg(unix)]

mod limits;
mod mapping;
mod regions;

use self::mapping::page_size;
use self::regions::{Cooled, Regions, Slot};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::{Config, Result, StackCreator, StackMemory, ensure};

pub use self::mapping::Guards;

/// How many free stacks keep their memory unless [`StackSlabOptions::warm_stacks`] says
/// otherwise.
const DEFAULT_WARM: usize = 256;

/// How many stacks give their memory back together.
const COOLED_AT_ONCE: usize = 64;

/// What the host gets of a stack that is large enough: as much as guest threads need.
const HOST: usize = 64 << 10;

/// Stacks up to this size are divided evenly between guest and host.
const SMALL: usize = 96 << 10;

/// Wasmtime's own default of `Config::max_wasm_stack`.
const MOST_WASM: usize = 512 << 10;

/// A slab of stacks. Clones are handles to the same one.
#[derive(Clone)]
pub struct StackSlab {
    inner: Arc<Slab>,
}

struct Slab {
    stack_size: usize,
    max_stacks: usize,
    warm_stacks: usize,
    regions: Mutex<Regions>,
}

/// What a [`StackSlab`] is like.
#[derive(Clone, Debug)]
pub struct StackSlabOptions {
    stack_size: usize,
    max_stacks: usize,
    warm_stacks: usize,
    guards: Option<Guards>,
}

/// What a [`StackSlab`] has at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackUsage {
    /// Stacks that an engine has. Stores keep some of those that their threads have left.
    pub in_use: usize,
    /// Free stacks that have kept their memory.
    pub warm: usize,
    /// Bytes of address space.
    pub mapped: usize,
}

impl StackSlabOptions {
    /// Options for a slab of stacks of `stack_size` bytes, which are rounded up to whole pages.
    /// The guard page is not part of them.
    pub fn new(stack_size: usize) -> StackSlabOptions {
        StackSlabOptions {
            stack_size,
            max_stacks: usize::MAX,
            warm_stacks: DEFAULT_WARM,
            guards: None,
        }
    }

    /// How many stacks there may be at a time. No more than the kernel allows by default.
    pub fn max_stacks(mut self, stacks: usize) -> StackSlabOptions {
        self.max_stacks = stacks;
        self
    }

    /// How many free stacks keep their memory, so that those who get one next find it in the
    /// caches: 256 by default. Each keeps as much as its users have ever touched. What is beyond
    /// goes back to the system.
    pub fn warm_stacks(mut self, stacks: usize) -> StackSlabOptions {
        self.warm_stacks = stacks;
        self
    }

    /// How stacks are guarded. By default, [`Guards::Markers`] where the kernel has them.
    pub fn guards(mut self, guards: Guards) -> StackSlabOptions {
        self.guards = Some(guards);
        self
    }

    /// Makes the slab. Nothing is mapped before the first stack is made.
    ///
    /// # Errors
    ///
    /// If `stack_size` or `max_stacks` is 0, if a stack is larger than the address space, or if
    /// the kernel does not have the [`Guards`] that were asked for.
    pub fn build(self) -> Result<StackSlab> {
        let StackSlabOptions {
            stack_size,
            max_stacks,
            warm_stacks,
            guards,
        } = self;
        let page = page_size();
        ensure!(
            stack_size > 0,
            "a stack of 0 bytes is too small: `StackSlab::new(124 << 10)` makes stacks of 124 KiB"
        );
        ensure!(
            max_stacks > 0,
            "a slab of 0 stacks has none for anybody: `max_stacks` must be at least 1"
        );
        let rounded = stack_size.checked_next_multiple_of(page);
        let stride = rounded.and_then(|size| size.checked_add(page));
        let most = isize::MAX as usize / regions::LEAST;
        let stride = stride.filter(|stride| *stride <= most);
        let Some(stride) = stride else {
            wasmtime::bail!(
                "stacks of {stack_size} bytes do not fit the address space: at most {most} work"
            );
        };
        let guards = Guards::supported(guards)?;
        Ok(StackSlab {
            inner: Arc::new(Slab {
                stack_size: stride - page,
                max_stacks,
                warm_stacks,
                regions: Mutex::new(Regions::new(stride, page, guards)),
            }),
        })
    }
}

impl StackSlab {
    /// A slab of stacks of `stack_size` bytes, with the defaults of [`StackSlabOptions`].
    ///
    /// # Errors
    ///
    /// See [`StackSlabOptions::build`].
    pub fn new(stack_size: usize) -> Result<StackSlab> {
        StackSlabOptions::new(stack_size).build()
    }

    /// Has an engine take its stacks from this slab.
    ///
    /// Sets `Config::async_stack_size`, and `Config::max_wasm_stack`: the guest gets half of a
    /// stack of up to 96 KiB, and all but 64 KiB of a larger one, at most 512 KiB. The rest is
    /// for host functions. Guest threads need stacks of more than 96 KiB. Set `max_wasm_stack`
    /// afterwards to divide a stack otherwise.
    ///
    /// The slab is for the on-demand allocator. The pooling allocator has stacks of its own.
    pub fn configure<'a>(&self, config: &'a mut Config) -> &'a mut Config {
        let size = self.inner.stack_size;
        let wasm = match size {
            ..=SMALL => size / 2,
            _ => (size - HOST).min(MOST_WASM),
        };
        config
            .async_stack_size(size)
            .max_wasm_stack(wasm)
            .with_host_stack(Arc::new(self.clone()))
    }

    /// How large each stack is, in bytes.
    pub fn stack_size(&self) -> usize {
        self.inner.stack_size
    }

    /// How stacks are guarded.
    pub fn guards(&self) -> Guards {
        self.inner.lock().guards()
    }

    /// What the slab has at the moment.
    pub fn usage(&self) -> StackUsage {
        let regions = self.inner.lock();
        StackUsage {
            in_use: regions.in_use(),
            warm: regions.warm(),
            mapped: regions.mapped(),
        }
    }

    /// Gives the memory of all free stacks back to the system.
    pub fn trim(&self) {
        loop {
            let oldest = self.inner.lock().take_oldest(COOLED_AT_ONCE);
            if oldest.is_empty() {
                break;
            }
            self.inner.cool(oldest);
        }
        let spare = self.inner.lock().take_spare();
        drop(spare);
    }
}

impl fmt::Debug for StackSlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackSlab")
            .field("stack_size", &self.inner.stack_size)
            .field("guards", &self.guards())
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl Slab {
    fn lock(&self) -> MutexGuard<'_, Regions> {
        // Nothing panics in the middle of a change.
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, slot: Slot) {
        let mut regions = self.lock();
        regions.put(slot);
        if regions.warm() > self.warm_stacks {
            let batch = COOLED_AT_ONCE.min(1 + self.warm_stacks / 2);
            let oldest = regions.take_oldest(batch);
            drop(regions);
            self.cool(oldest);
        }
    }

    /// Gives the memory of these stacks back. The lock is not held meanwhile, as that may take
    /// long.
    fn cool(&self, slots: Cooled) {
        slots.give_back();
        let unmapped = self.lock().put_cold(slots);
        drop(unmapped);
    }
}

// SAFETY: I27. A stack is page-aligned and accessible, has a guard below, is nobody else's, and
// stays mapped until the `Stack` is dropped, as `Stack` keeps the slab.
unsafe impl StackCreator for StackSlab {
    fn new_stack(&self, size: usize, zeroed: bool) -> Result<Box<dyn StackMemory>> {
        let slab = &self.inner;
        ensure!(
            size <= slab.stack_size,
            "`Config::async_stack_size` of {size} bytes is more than the {} of each stack of the \
             slab: `StackSlab::configure` sets it, or make the slab of larger stacks",
            slab.stack_size,
        );
        let mut regions = slab.lock();
        ensure!(
            regions.in_use() < slab.max_stacks,
            "all of the slab's {} stacks are in use, which is its limit: wait for threads to \
             finish, or raise the limit with `StackSlabOptions::max_stacks`",
            slab.max_stacks,
        );
        let (slot, bottom, warm) = regions.take()?;
        drop(regions);
        let stack = Stack {
            slab: slab.clone(),
            bottom,
            slot,
        };
        if zeroed && warm {
            mapping::zero(stack.range());
        }
        Ok(Box::new(stack))
    }
}

/// A stack in use.
struct Stack {
    slab: Arc<Slab>,
    /// The lowest address that may be used.
    bottom: usize,
    slot: Slot,
}

// SAFETY: I27. See `new_stack`.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.range().end as *mut u8
    }

    fn range(&self) -> Range<usize> {
        self.bottom..self.bottom + self.slab.stack_size
    }

    fn guard_range(&self) -> Range<*mut u8> {
        (self.bottom - page_size()) as *mut u8..self.bottom as *mut u8
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.slab.put(self.slot);
    }
}
