//! Stores beside other tasks of tokio: guests that never yield, and guests that wait for
//! what only tokio has.
//!
//! ```sh
//! cargo run --example tokio
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use wasmtime_preempt::wasmtime::error::Context as _;
use wasmtime_preempt::wasmtime::*;

const GUEST: &str = r#"
(module
  (import "host" "next" (func $next (result i64)))

  ;; Counts to n, and does nothing else.
  (func (export "count") (param $n i64) (result i64)
    (local $i i64)
    (loop $again
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $again (i64.lt_u (local.get $i) (local.get $n))))
    (local.get $i))

  ;; Adds up what it is sent, until that is negative.
  (func (export "add") (param i64) (result i64)
    (local $sum i64) (local $next i64)
    (loop $again
      (local.set $next (call $next))
      (if (i64.ge_s (local.get $next) (i64.const 0))
        (then
          (local.set $sum (i64.add (local.get $sum) (local.get $next)))
          (br $again))))
    (local.get $sum)))
"#;

/// The data of a store: what its guests are sent.
type Inbox = Arc<Mutex<mpsc::Receiver<i64>>>;

fn main() -> Result<()> {
    let mut config = Config::new();
    config.preemption(Preemption::for_this_host());
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;

    // A guest thread that waits for the next number is parked: the other threads of its
    // store run on. The future must not borrow the store, so it takes what it needs.
    let mut linker = Linker::<Inbox>::new(&engine);
    linker.func_wrap_concurrent("host", "next", |accessor, ()| {
        Box::pin(async move {
            let inbox = accessor.with(|caller| caller.data().clone())?;
            let next = inbox.lock().await.recv().await;
            next.context("nobody sends any more")
        })
    })?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let mut stores = Vec::new();
        let mut outboxes = Vec::new();
        for _ in 0..8 {
            let (outbox, inbox) = mpsc::channel(1);
            outboxes.push(outbox);
            let mut store = Store::new(&engine, Arc::new(Mutex::new(inbox)));
            let mut spawn = |name: &str, param: i64| {
                let instance = linker.instantiate(&mut store, &module)?;
                let func = instance.get_typed_func::<i64, i64>(&mut store, name)?;
                ThreadOptions::new().spawn_typed(&mut store, &func, param)
            };
            let ids = [spawn("count", 100_000_000)?, spawn("add", 0)?];
            // The store is this task's, and moves between tokio's workers with it.
            stores.push(tokio::spawn(async move {
                let run = store.run_wasm_threads_async(Duration::MAX).await?;
                let mut results = ids.map(|id| id.take_exit(&mut store)).into_iter();
                let (count, sum) = (results.next().flatten(), results.next().flatten());
                error::Ok((run, count, sum))
            }));
        }

        // Other tasks get their turn, whatever the guests do.
        let ticks = tokio::spawn(async {
            let mut latest = Duration::ZERO;
            for _ in 0..50 {
                let start = Instant::now();
                tokio::time::sleep(Duration::from_millis(2)).await;
                latest = latest.max(start.elapsed());
            }
            latest
        });
        for number in (1..=10).chain([-1]) {
            for outbox in &outboxes {
                outbox.send(number).await?;
            }
        }

        for (i, store) in stores.into_iter().enumerate() {
            let (run, count, sum) = store.await??;
            println!("store {i}: {:?}, counted {count:?}, added {sum:?}", run.end);
        }
        println!("a sleep of 2 ms took {:.0?} at most", ticks.await?);
        Ok(())
    })
}
