//! Any number of stores on any number of OS threads, inside of each other too.

use super::*;
use std::mem;
use std::ptr;
use std::sync::mpsc;
use std::thread;
use wasmtime::preempt::ThreadState;

#[test]
fn several_stores_run_on_several_os_threads_at_once() {
    let engine = engine();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut store = store(&engine, ());
                let jobs = jobs(&mut store);
                run_until(&mut store, &jobs, 200);
            });
        }
    });
}

#[test]
fn a_store_moves_between_os_threads_from_run_to_run() {
    let engine = engine();
    let mut store = store(&engine, ());
    let jobs: Vec<_> = (0..3).flat_map(|_| jobs(&mut store)).collect();
    let ids: Vec<_> = jobs
        .iter()
        .map(|job| store.spawn_wasm_thread(job.func, &job.params).unwrap())
        .collect();
    let mut runs = 0;
    loop {
        // On an OS thread that has never seen a store, and then on this one.
        let run = match runs % 2 {
            0 => thread::scope(|scope| {
                let run = scope.spawn(|| store.run_wasm_threads_for(us(300)).unwrap());
                run.join().unwrap()
            }),
            _ => store.run_wasm_threads_for(us(300)).unwrap(),
        };
        runs += 1;
        if run.end == RunEnd::AllFinished {
            break;
        }
    }
    assert!(runs > 2, "{runs}");
    for (id, job) in ids.into_iter().zip(&jobs) {
        assert_eq!(Outcome::of_thread(&mut store, id), job.outcome);
    }
}

/// Spinners, a sum and a trap.
struct Threads {
    spinners: [ThreadId; 2],
    sum: ThreadId,
    trap: ThreadId,
}

impl Threads {
    fn spawn<T: 'static>(store: &mut Store<T>) -> Threads {
        let module = Module::new(store.engine(), GUESTS).unwrap();
        Threads {
            spinners: [(); 2].map(|()| spawn_spinner(store, &module).0),
            sum: spawn(store, &module, "sum", &[Val::I64(100_000)]),
            trap: spawn(store, &module, "sum_then_trap", &[Val::I64(1_000)]),
        }
    }

    /// Runs until all have been preempted or have ended.
    fn run<T: 'static>(&self, store: &mut Store<T>, other: Option<ThreadId>) {
        let start = Instant::now();
        let others: Vec<_> = self.spinners.into_iter().chain(other).collect();
        while others.iter().any(|&id| stats(store, id).preemptions < 4)
            || [self.sum, self.trap]
                .iter()
                .any(|&id| id.info(&store).unwrap().state != ThreadState::Finished)
        {
            assert!(start.elapsed() < HANG);
            store.run_wasm_threads_for(ms(20)).unwrap();
        }
    }

    fn check<T: 'static>(self, store: &mut Store<T>) {
        assert_eq!(bits(&returned(store, self.sum)), [5_000_050_000]);
        assert_eq!(trap_of(store, self.trap), Trap::UnreachableCodeReached);
    }
}

#[test]
fn a_run_inside_a_run_ends_slices_in_both_whatever_their_modes() {
    let all = [Preemption::Fuel, Preemption::Epoch, Preemption::Signal];
    for (outer, inner) in all
        .iter()
        .flat_map(|&outer| all.map(|inner| (outer, inner)))
    {
        println!("{outer} around {inner}");
        let mut inside = Store::new(&crate::support::engine(inner), ());
        inside.wasm_threads().set_slice(short_slice(inner)).unwrap();
        let threads = Threads::spawn(&mut inside);

        let engine = crate::support::engine(outer);
        let mut outside = Store::new(&engine, Some((inside, threads)));
        outside
            .wasm_threads()
            .set_slice(short_slice(outer))
            .unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap(
                "",
                "run",
                |mut caller: Caller<'_, Option<(Store<()>, Threads)>>| {
                    let (mut store, threads) = caller.data_mut().take().unwrap();
                    threads.run(&mut store, None);
                    threads.check(&mut store);
                },
            )
            .unwrap();
        let module = Module::new(
            &engine,
            r#"(module
                (import "" "run" (func $run))
                (func (export "run") (call $run) (loop $again (br $again))))"#,
        )
        .unwrap();
        // The one that runs the other store is preempted afterwards.
        let id = spawn_linked(&mut outside, &linker, &module, "run", &[]);
        let threads = Threads::spawn(&mut outside);
        threads.run(&mut outside, Some(id));
        threads.check(&mut outside);
        assert!(outside.data().is_none());
    }
}

#[test]
fn a_store_is_dropped_on_another_os_thread_with_threads_suspended_anywhere() {
    let stacks = CountedStacks::default();
    let engine = stacks.engine(Preemption::Signal);
    let module = Module::new(&engine, GUESTS).unwrap();
    let mut random = Random::new(3);
    let (sender, receiver) = mpsc::channel::<Store<()>>();
    let mut preemptions = 0;
    thread::scope(|scope| {
        // Never has run anything.
        scope.spawn(move || receiver.into_iter().for_each(drop));
        for _ in 0..100 {
            let mut store = store(&engine, ());
            for _ in 0..3 {
                spawn_spinner(&mut store, &module);
                spawn(&mut store, &module, "fib", &[Val::I32(40)]);
            }
            let time = us(300 + random.below(700));
            preemptions += store.run_wasm_threads_for(time).unwrap().preemptions;
            sender.send(store).unwrap();
        }
        drop(sender);
    });
    assert!(preemptions > 100, "{preemptions}");
    assert_eq!((stacks.made(), stacks.live()), (600, 0));
}

/// Runs `body` on an OS thread that Rust's standard library does not know, and
/// that therefore has no alternate signal stack.
fn on_foreign_thread(body: &mut (dyn FnMut() + Send)) {
    extern "C" fn start(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: this is the pointer below, and the other OS thread waits.
        let body = unsafe { &mut *body.cast::<&mut (dyn FnMut() + Send)>() };
        body();
        ptr::null_mut()
    }
    let mut body = body;
    // SAFETY: the pointers are null or to locals, which outlive the thread.
    unsafe {
        let mut thread = mem::zeroed();
        let argument = (&raw mut body).cast();
        assert_eq!(
            libc::pthread_create(&mut thread, ptr::null(), start, argument),
            0
        );
        assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
    }
}

fn has_alternate_stack() -> bool {
    // SAFETY: zero is valid, and the pointers are null or to a local.
    let stack = unsafe {
        let mut stack: libc::stack_t = mem::zeroed();
        assert_eq!(libc::sigaltstack(ptr::null(), &mut stack), 0);
        stack
    };
    stack.ss_flags & libc::SS_DISABLE == 0
}

#[test]
fn an_os_thread_without_an_alternate_stack_runs_guests_from_beginning_to_end() {
    on_foreign_thread(&mut || {
        assert!(!has_alternate_stack());
        let engine = engine();
        let mut store = store(&engine, ());
        let jobs = jobs(&mut store);
        run_until(&mut store, &jobs, 200);
    });
}

#[test]
fn an_os_thread_without_an_alternate_stack_goes_on_with_what_another_has_begun() {
    let engine = engine();
    let mut store = store(&engine, ());
    let jobs: Vec<_> = (0..2).flat_map(|_| jobs(&mut store)).collect();
    let ids: Vec<_> = jobs
        .iter()
        .map(|job| store.spawn_wasm_thread(job.func, &job.params).unwrap())
        .collect();
    // Here all are begun, and none is at its end.
    let mut begun = 0;
    while begun < ids.len() as u64 {
        begun += store.run_wasm_threads_for(us(100)).unwrap().dispatches;
    }
    let mut run = None;
    on_foreign_thread(&mut || {
        assert!(!has_alternate_stack());
        run = Some(run_all(&mut store));
    });
    assert!(run.as_ref().unwrap().preemptions > 0, "{run:?}");
    for (id, job) in ids.into_iter().zip(&jobs) {
        assert_eq!(Outcome::of_thread(&mut store, id), job.outcome);
    }
}
