//! A store in which guest code runs as guest threads, beside a sibling that never yields.

use super::source::Source;
use super::steps;
use crate::support::HANG;
use std::fmt;
use std::sync::{Arc, OnceLock};
use wasmtime::preempt::*;
use wasmtime::*;

/// Keeps vectors, floats and integers in registers, and leaves garbage behind. It never ends.
pub const SIBLING: &str = r#"
(module
  (type $bytes (array (mut i8)))
  (global $turns (mut i64) (i64.const 0))
  (global $vector (mut v128) (v128.const i64x2 0 0))
  (global $float (mut f64) (f64.const 0))

  (func $litter (drop (array.new_default $bytes (i32.const 4000))))

  (func (export "spin")
    (local $n i64) (local $a v128) (local $b v128) (local $x f64) (local $y f64)
    (loop $again
      (local.set $n (i64.add (local.get $n) (i64.const 0x9e3779b97f4a7c15)))
      (local.set $a (i64x2.add (local.get $a) (i64x2.splat (local.get $n))))
      (local.set $b (v128.xor (v128.not (local.get $b)) (local.get $a)))
      (local.set $x (f64.add (local.get $x) (f64.const 1.5)))
      (local.set $y (f64.sub (local.get $y) (local.get $x)))
      (global.set $vector (v128.xor (local.get $a) (local.get $b)))
      (global.set $float (f64.mul (local.get $x) (local.get $y)))
      (global.set $turns (i64.add (global.get $turns) (i64.const 1)))
      (if (i64.eqz (i64.and (global.get $turns) (i64.const 63))) (then (call $litter)))
      (br $again))))
"#;

/// What came of guest code: what it returned, or a trap or an exception.
pub type Outcome<R> = Result<R, Error>;

pub struct Guests {
    pub store: Store<()>,
    /// `None` if calls are plain.
    sibling: Option<ThreadId>,
    source: Source,
    /// Those of which instances were started, and not the sibling's.
    modules: Vec<Module>,
    /// Of the threads that were called and started.
    pub preemptions: u64,
}

/// What a thread that is only to start an instance ends with.
#[derive(Debug)]
struct Started;

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the instance has started")
    }
}

impl std::error::Error for Started {}

impl Guests {
    pub fn new(engine: &Engine, source: Source) -> Result<Guests> {
        let mut store = Store::new(engine, ());
        let sibling = match source.slice() {
            Some(slice) => {
                store.wasm_threads().set_slice(slice)?;
                Some(spawn_sibling(&mut store, source)?)
            }
            None => None,
        };
        Ok(Guests {
            store,
            sibling,
            source,
            modules: Vec::new(),
            preemptions: 0,
        })
    }

    /// # Errors
    ///
    /// If it could not be called.
    pub fn call(&mut self, func: Func, params: &[Val]) -> Result<Outcome<Vec<Val>>> {
        let Some(sibling) = self.sibling else {
            let results = func.ty(&self.store).results().len();
            let mut results = vec![Val::I32(0); results];
            let outcome = func.call(&mut self.store, params, &mut results);
            return Ok(outcome.map(|()| results));
        };
        sibling.resume(&mut self.store)?;
        let id = ThreadOptions::new().spawn(&mut self.store, func, params)?;
        if self.source != Source::Instructions {
            return self.run(id, sibling);
        }
        steps::begin(&self.modules);
        let outcome = self.run(id, sibling);
        steps::end()?;
        outcome
    }

    /// # Errors
    ///
    /// If it could not be started.
    pub fn start(&mut self, pre: &InstancePre<()>) -> Result<Outcome<Instance>> {
        let Some(sibling) = self.sibling else {
            return Ok(pre.instantiate(&mut self.store));
        };
        self.modules.push(pre.module().clone());
        sibling.resume(&mut self.store)?;
        let started = Arc::new(OnceLock::new());
        let slot = started.clone();
        let id =
            ThreadOptions::new().spawn_instance(&mut self.store, pre, move |_, instance| {
                slot.set(instance).expect("it starts once");
                // Not every instance has a function that could be returned here.
                Err(Error::new(Started))
            })?;
        match self.run(id, sibling)? {
            Err(error) if error.is::<Started>() => Ok(Ok(*started.get().expect("it was set"))),
            Err(error) => Ok(Err(error)),
            Ok(values) => bail!("nothing was called, but returned {values:?}"),
        }
    }

    /// Runs until the thread `id` has ended.
    fn run(&mut self, id: ThreadId, sibling: ThreadId) -> Result<Outcome<Vec<Val>>> {
        id.on_exit(&mut self.store, move |store, _| {
            sibling.suspend(store).expect("the sibling never ends");
        })?;
        let run = self.store.run_wasm_threads_for(HANG)?;
        if run.end != RunEnd::AllSuspended {
            id.kill(&mut self.store)?;
            bail!("should have ended: {run:?}");
        }
        let info = id.info(&self.store).expect("its exit was not taken");
        self.preemptions += info.stats.preemptions;
        match id.take_exit(&mut self.store) {
            Some(Exit::Returned(values)) => Ok(Ok(values)),
            Some(Exit::Trapped(error)) => Ok(Err(error)),
            exit => bail!("nobody ends a thread, but: {exit:?}"),
        }
    }

    /// Fails unless the sibling is there, and has run.
    pub fn finish(mut self) -> Result<()> {
        let Some(sibling) = self.sibling else {
            return Ok(());
        };
        let info = sibling.info(&self.store).expect("it is not forgotten");
        // Only a thread that was preempted lets it run if it steps through instructions.
        let may_wait = self.source == Source::Instructions && self.preemptions == 0;
        ensure!(
            info.state == ThreadState::Suspended && (info.stats.dispatches > 0 || may_wait),
            "the sibling has not run: {info:?}"
        );
        ensure!(
            self.store.shutdown_wasm_threads() == 1,
            "only the sibling is left"
        );
        Ok(())
    }
}

/// It is suspended, but while other guest threads run.
fn spawn_sibling(store: &mut Store<()>, source: Source) -> Result<ThreadId> {
    let module = Module::new(store.engine(), SIBLING)?;
    let instance = Instance::new(&mut *store, &module, &[])?;
    let spin = instance.get_func(&mut *store, "spin").expect("exported");
    let mut options = ThreadOptions::new().name("sibling");
    if let Some(slice) = source.slice_of_sibling() {
        options = options.slice(slice);
    }
    let sibling = options.spawn(&mut *store, spin, &[])?;
    if source == Source::Instructions {
        steps::take_turns(store, sibling)?;
    }
    sibling.suspend(store)?;
    Ok(sibling)
}
