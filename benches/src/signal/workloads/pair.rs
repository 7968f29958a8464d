//! Two instances in a store, called or run as guest threads, and looked after.

use crate::signal::{Took, timed};
use crate::workloads::Answer;
use std::time::Duration;
use wasmtime::{
    Engine, Exit, Func, Instance, Memory, Module, Result, RunSummary, Slice, Store, Val, bail,
    ensure,
};

/// A store with two instances.
pub struct Pair {
    store: Store<()>,
    module: Module,
    runs: [Func; 2],
    memories: [Option<Memory>; 2],
}

impl Pair {
    pub fn new(engine: &Engine, guest: &[u8]) -> Result<Pair> {
        let module = Module::new(engine, guest)?;
        let mut store = Store::new(engine, ());
        let mut guest = || {
            let instance = Instance::new(&mut store, &module, &[])?;
            let run = instance.get_func(&mut store, "run");
            let Some(run) = run else {
                bail!("the guest does not export a function `run`");
            };
            wasmtime::error::Ok((run, instance.get_memory(&mut store, "memory")))
        };
        let (a, b) = (guest()?, guest()?);
        Ok(Pair {
            store,
            module,
            runs: [a.0, b.0],
            memories: [a.1, b.1],
        })
    }

    /// # Errors
    ///
    /// If the code was not compiled to the same as that of `other`.
    pub fn ensure_same_code(&self, other: &Pair) -> Result<()> {
        ensure!(
            self.module.text() == other.module.text(),
            "the code is not the same as without preemption"
        );
        Ok(())
    }

    /// Calls both, one after the other.
    pub fn call(&mut self, times: i32, answer: &Answer) -> Result<Took> {
        self.forget(answer);
        let mut results = [[Val::null_any_ref()], [Val::null_any_ref()]];
        let (took, ()) = timed(|| {
            for (run, result) in self.runs.iter().zip(&mut results) {
                run.call(&mut self.store, &[Val::I32(times)], result)?;
            }
            Ok(())
        })?;
        for [result] in results {
            answer.check(&result)?;
        }
        self.check_memories(answer)?;
        Ok(took)
    }

    /// Runs both as guest threads. Returns also the number of preemptions.
    pub fn run(&mut self, times: i32, slice: Slice, answer: &Answer) -> Result<(Took, u64)> {
        self.forget(answer);
        self.store.wasm_threads().set_slice(slice)?;
        let (took, (ids, run)) = timed(|| {
            let mut ids = Vec::new();
            for run in self.runs {
                ids.push(self.store.spawn_wasm_thread(run, &[Val::I32(times)])?);
            }
            let run = self.store.run_wasm_threads_for(Duration::MAX)?;
            Ok((ids, run))
        })?;
        for id in ids {
            match id.take_exit(&mut self.store) {
                Some(Exit::Returned(results)) if results.len() == 1 => answer.check(&results[0])?,
                exit => bail!("a guest has ended as {exit:?}"),
            }
        }
        self.check_memories(answer)?;
        ensure_preempted(slice, took.cpu, &run)?;
        Ok((took, run.preemptions))
    }

    /// Overwrites what was computed before.
    fn forget(&mut self, answer: &Answer) {
        if let Some((at, bytes)) = &answer.memory {
            for memory in self.memories.iter().flatten() {
                memory.data_mut(&mut self.store)[*at..*at + bytes.len()].fill(0xff);
            }
        }
    }

    fn check_memories(&mut self, answer: &Answer) -> Result<()> {
        if let Some((at, bytes)) = &answer.memory {
            for memory in self.memories {
                let right = memory.is_some_and(|memory| {
                    memory.data(&self.store).get(*at..*at + bytes.len()) == Some(bytes)
                });
                ensure!(right, "what the guest has left in its memory is wrong");
            }
        }
        Ok(())
    }
}

/// Without preemptions, nothing would have been measured. The last slices, where
/// one guest is alone, do not count.
fn ensure_preempted(slice: Slice, cpu: Duration, run: &RunSummary) -> Result<()> {
    let expected = match slice {
        Slice::Time(slice) => cpu.as_secs_f64() / slice.as_secs_f64() / 2.0 - 2.0,
        _ => 1.0,
    };
    ensure!(
        run.preemptions as f64 >= expected,
        "too few preemptions for a slice of {slice}: {run:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::PAPER;

    #[test]
    fn each_guest_computes_what_rust_does() -> Result<()> {
        for workload in &PAPER {
            let answer = workload.answer();
            let mut pair = Pair::new(&Engine::default(), workload.guest)?;
            pair.call(1, &answer)?;
            let wrong = Answer {
                result: answer.result ^ 1,
                memory: None,
            };
            assert!(pair.call(1, &wrong).is_err(), "{}", workload.name);
        }
        Ok(())
    }

    #[test]
    fn a_wrong_element_is_found() -> Result<()> {
        let mut answer = PAPER[2].answer();
        answer.memory.as_mut().expect("it is in memory").1[4711] ^= 1;
        let mut pair = Pair::new(&Engine::default(), PAPER[2].guest)?;
        assert!(pair.call(1, &answer).is_err());
        Ok(())
    }
}
