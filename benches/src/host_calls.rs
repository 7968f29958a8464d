//! Subjects: what a guest's call of the host costs in a guest thread, and in a plain call of
//! the same engine; and what a store costs whose module has many functions.

use crate::guest::{self, Stacks};
use crate::os::timed;
use crate::paired::Subject;
use std::time::Duration;
use wasmtime::{Func, Module, Preemption, Result, Slice, Store, TypedFunc};

/// An operation of which a guest does one in each round of a loop.
struct Operation {
    name: &'static str,
    /// With the number of rounds that are left in local 0.
    text: &'static str,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "host function",
        text: "(call $host)",
    },
    Operation {
        name: "memory.fill of 8 bytes",
        text: "(memory.fill (i32.const 0) (i32.const 1) (i32.and (local.get 1) (i32.const 8)))",
    },
    Operation {
        name: "memory.copy of 8 bytes",
        text: "(memory.copy (i32.const 0) (i32.const 64) (i32.and (local.get 1) (i32.const 8)))",
    },
    Operation {
        name: "memory.grow by 0",
        text: "(drop (memory.grow (i32.const 0)))",
    },
    Operation {
        name: "memory.atomic.notify of nobody",
        text: "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))",
    },
    Operation {
        name: "32 copies of 3 to 34 bytes",
        text: "(local.set 2 (i32.const 3))
            (loop
                (memory.copy (i32.const 4096) (i32.const 64) (local.get 2))
                (local.set 2 (i32.add (local.get 2) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get 2) (i32.const 35))))",
    },
];

/// The subjects of each operation, and of each source: the name of that in a guest thread, and
/// of that in a plain call.
pub type Pairs = Vec<(&'static str, &'static str)>;

pub fn subjects(sources: &[Preemption]) -> Result<(Vec<Subject<'static>>, Pairs)> {
    let mut subjects = Vec::new();
    let mut pairs = Vec::new();
    for preemption in sources {
        for operation in OPERATIONS {
            let name = |whose| format!("{}, {preemption}, {whose}", operation.name).leak() as &str;
            let (thread, plain) = (name("guest thread"), name("plain call"));
            let mut in_thread = Caller::new(*preemption, operation)?;
            let mut in_call = Caller::new(*preemption, operation)?;
            subjects.push(Subject::new(thread, move |times| in_thread.thread(times)));
            subjects.push(Subject::new(plain, move |times| in_call.plain(times)));
            pairs.push((thread, plain));
        }
    }
    Ok((subjects, pairs))
}

struct Caller {
    store: Store<()>,
    run: TypedFunc<(i64, i32), ()>,
}

impl Caller {
    fn new(preemption: Preemption, operation: &Operation) -> Result<Caller> {
        let engine = guest::engine(preemption, Stacks::OnDemand)?;
        let module = Module::new(
            &engine,
            format!(
                r#"(module
                    (import "" "host" (func $host))
                    (memory 1)
                    (func (export "run") (param i64 i32) (local i32)
                        (loop $round
                            {}
                            (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
                            (br_if $round (i64.gt_s (local.get 0) (i64.const 0))))))"#,
                operation.text
            ),
        )?;
        let mut store = Store::new(&engine, ());
        let slice = match preemption {
            Preemption::Fuel => Slice::Fuel(i64::MAX as u64),
            _ => Slice::Time(Duration::from_secs(1)),
        };
        store.wasm_threads().set_slice(slice)?;
        let host = Func::wrap(&mut store, || {});
        let run = guest::func_of(&mut store, &module, &[host.into()])?;
        let run = run.typed(&store)?;
        Ok(Caller { store, run })
    }

    fn thread(&mut self, times: u64) -> Result<Duration> {
        guest::spawn(&mut self.store, &self.run, (times as i64, -1))?;
        Ok(guest::finish(&mut self.store)?.0)
    }

    fn plain(&mut self, times: u64) -> Result<Duration> {
        let (took, ()) = timed(|| self.run.call(&mut self.store, (times as i64, -1)))?;
        Ok(took)
    }
}

/// How many functions the modules have that stores are made for.
pub const SIZES: [usize; 3] = [10, 1_000, 20_000];

/// A store, an instance, and one guest thread that calls one function, of a module with so many.
pub fn stores(sources: &[Preemption]) -> Result<(Vec<Subject<'static>>, Pairs)> {
    let mut subjects = Vec::new();
    let mut pairs = Vec::new();
    for preemption in sources {
        let engine = guest::engine(*preemption, Stacks::OnDemand)?;
        let name = |size| format!("{preemption}, {size} functions").leak() as &str;
        let smallest = name(SIZES[0]);
        for size in SIZES {
            let module = Module::new(&engine, functions(size))?;
            subjects.push(Subject::new(name(size), move |times| {
                let (took, ()) = timed(|| {
                    for _ in 0..times {
                        let mut store = Store::new(module.engine(), ());
                        let run = guest::func_of(&mut store, &module, &[])?;
                        store.spawn_wasm_thread(run, &[])?;
                        store.run_wasm_threads_for(Duration::MAX)?;
                    }
                    Ok(())
                })?;
                Ok(took)
            }));
            pairs.push((name(size), smallest));
        }
    }
    Ok((subjects, pairs))
}

fn functions(count: usize) -> String {
    let others = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))";
    format!(
        r#"(module (func (export "run")) {})"#,
        others.repeat(count - 1)
    )
}
