//! Threads that neither wait nor yield: only preemption lets the others run.

use crate::support::*;
use preempt_wasi_threads::ProcessOptions;
use std::time::Duration;
use wasmtime::preempt::*;

#[test]
fn spinners_are_stuck_until_they_are_preempted() {
    for source in sources() {
        let engine = engine(source);
        let module = fixture(&engine, "spin");
        let mut store = store(&engine);
        let guest = spawn(&mut store, &module, &["4", "500"], ProcessOptions::new());

        // As good as cooperative: whoever has the CPU keeps it.
        let (slice, time) = match source {
            // It ends in the middle of a slice of fuel, which then goes on.
            Preemption::Fuel => (Slice::Fuel(100_000_000), ms(1)),
            _ => (Slice::Time(Duration::from_secs(3_600)), ms(100)),
        };
        store.wasm_threads().set_slice(slice).unwrap();
        let run = store.run_wasm_threads_for(time).unwrap();
        assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 1), "{source}");
        while source == Preemption::Fuel && guest.process.threads().len() < 7 {
            let run = store.run_wasm_threads_for(time).unwrap();
            assert_eq!((run.end, run.dispatches), (RunEnd::TimeUp, 0));
        }
        let main = guest.process.main().info(&store).unwrap();
        assert_eq!(main.state, ThreadState::Ready);
        assert_eq!(guest.process.threads().len(), 7, "it has started them all");
        assert_eq!(guest.stdout(), "");

        store.wasm_threads().set_slice(short_slice(source)).unwrap();
        let run = store.run_wasm_threads_for(LONG).unwrap();
        assert_eq!(run.end, RunEnd::AllFinished, "{source}");
        assert!(run.preemptions > 0, "{source}: {run:?}");
        assert_eq!(guest.end(), ("counted 2000".to_string(), 0), "{source}");
    }
}
