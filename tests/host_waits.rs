//! System calls of host code that no handler restarts, as `poll`, and the ends of slices: under
//! signals, one of them may fail with `EINTR` for each slice, and for each kill. Under the other
//! sources none does.

use crate::support::*;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::thread;
use std::time::Duration;
use wasmtime::preempt::*;
use wasmtime::*;

for_each_preemption!(
    a_slice_that_ends_in_a_host_function_disturbs_it_once,
    a_slice_that_ends_in_a_host_function_that_is_a_thread_disturbs_it_once,
    a_slice_that_ends_while_an_instance_is_started_disturbs_that_once,
    the_slice_of_a_thread_that_has_ended_disturbs_its_exit_hook_once,
    the_end_of_the_run_disturbs_a_host_function_once,
    a_kill_disturbs_a_host_function_once,
    host_code_is_disturbed_once_after_a_guest_that_it_calls,
);

/// Longer than the slices.
const WAIT: Duration = Duration::from_millis(20);

/// How many system calls fail because a signal came: of those that `SA_RESTART` does not
/// restart, one of each kind.
fn disturbed() -> u32 {
    let interrupted = |result: libc::c_int| {
        let error = std::io::Error::last_os_error();
        u32::from(result != 0 && error.kind() == ErrorKind::Interrupted)
    };
    let millis = i32::try_from(WAIT.as_millis()).unwrap();
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(millis) * 1_000_000,
    };
    // SAFETY: the pointers are null, where nothing is read, or to locals.
    let mut count = unsafe {
        let mut event: libc::epoll_event = std::mem::zeroed();
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let count = interrupted(libc::poll(ptr::null_mut(), 0, millis))
            + interrupted(libc::epoll_wait(epoll, &mut event, 1, millis))
            + interrupted(libc::nanosleep(&time, ptr::null_mut()));
        libc::close(epoll);
        count
    };
    let (mut socket, _other_end) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let error = socket.read(&mut [0]).unwrap_err();
    count += u32::from(error.kind() == ErrorKind::Interrupted);
    count
}

/// What the waits of a test saw, each of which was in one slice.
#[derive(Default)]
struct Seen {
    waits: u32,
    most_disturbed: u32,
}

fn wait(mut store: impl AsContextMut<Data = Seen>) {
    let disturbed = disturbed();
    let mut store = store.as_context_mut();
    let seen = store.data_mut();
    seen.waits += 1;
    seen.most_disturbed = seen.most_disturbed.max(disturbed);
}

const CALLER: &str = r#"
(module
  (import "" "wait" (func $wait))
  (func (export "wait") (param $times i32)
    (loop $again
      (call $wait)
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
  (func (export "spin") (loop br 0)))
"#;

struct Waits {
    preemption: Preemption,
    store: Store<Seen>,
    linker: Linker<Seen>,
    module: Module,
}

impl Waits {
    /// A store with a thread that always wants the CPU.
    fn new(preemption: Preemption) -> Waits {
        let engine = engine(preemption);
        let mut store = Store::new(&engine, Seen::default());
        store
            .wasm_threads()
            .set_slice(short_slice(preemption))
            .unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("", "wait", |caller: Caller<'_, Seen>| wait(caller))
            .unwrap();
        let module = Module::new(&engine, CALLER).unwrap();
        let mut waits = Waits {
            preemption,
            store,
            linker,
            module,
        };
        waits.spawn("spin", &[]);
        waits
    }

    fn spawn(&mut self, export: &str, params: &[Val]) -> ThreadId {
        spawn_linked(&mut self.store, &self.linker, &self.module, export, params)
    }

    /// Runs until `id` has finished, all that time beside a sibling.
    #[track_caller]
    fn check(mut self, id: ThreadId, waits: u32) {
        run_until(&mut self.store, |store| finished(store, id));
        returned(&mut self.store, id);
        self.check_seen(waits, 1);
    }

    /// Under signals, `signals` may have come to each wait.
    #[track_caller]
    fn check_seen(&self, waits: u32, signals: u32) {
        let seen = self.store.data();
        assert_eq!(seen.waits, waits);
        let allowed = match self.preemption {
            Preemption::Signal => signals,
            _ => 0,
        };
        let disturbed = seen.most_disturbed;
        assert!(disturbed <= allowed, "{disturbed} of 4");
    }
}

fn a_slice_that_ends_in_a_host_function_disturbs_it_once(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    let id = waits.spawn("wait", &[Val::I32(3)]);
    waits.check(id, 3);
}

fn a_slice_that_ends_in_a_host_function_that_is_a_thread_disturbs_it_once(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    let func = Func::wrap(&mut waits.store, |caller: Caller<'_, Seen>| wait(caller));
    let id = waits.store.spawn_wasm_thread(func, &[]).unwrap();
    waits.check(id, 1);
}

fn a_slice_that_ends_while_an_instance_is_started_disturbs_that_once(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    let pre = waits.linker.instantiate_pre(&waits.module).unwrap();
    let started = |mut store: StoreContextMut<'_, Seen>, instance: Instance| {
        wait(&mut store);
        let func = instance.get_func(&mut store, "wait").unwrap();
        Ok((func, vec![Val::I32(1)]))
    };
    let id = ThreadOptions::new()
        .spawn_instance(&mut waits.store, &pre, started)
        .unwrap();
    waits.check(id, 2);
}

fn the_slice_of_a_thread_that_has_ended_disturbs_its_exit_hook_once(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    let id = waits.spawn("wait", &[Val::I32(1)]);
    id.on_exit(&mut waits.store, |store, _| wait(store))
        .unwrap();
    waits.check(id, 2);
}

fn the_end_of_the_run_disturbs_a_host_function_once(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    let id = waits.spawn("wait", &[Val::I32(3)]);
    let mut runs = 0;
    while !finished(&waits.store, id) {
        waits.store.run_wasm_threads_for(WAIT / 2).unwrap();
        runs += 1;
    }
    assert!(runs >= 3);
    waits.check(id, 3);
}

fn a_kill_disturbs_a_host_function_once(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    let (tell, told) = std::sync::mpsc::channel::<RemoteThread>();
    let killer = thread::spawn(move || told.iter().for_each(|thread| thread.kill()));
    waits.linker.allow_shadowing(true);
    waits
        .linker
        .func_wrap("", "wait", move |mut caller: Caller<'_, Seen>| {
            let id = caller.wasm_threads().current().unwrap();
            tell.send(id.remote(&mut caller).unwrap()).unwrap();
            wait(caller);
        })
        .unwrap();
    let ids = [(); 3].map(|()| waits.spawn("wait", &[Val::I32(100)]));
    run_until(&mut waits.store, |store| {
        ids.iter().all(|id| finished(store, *id))
    });
    for id in ids {
        assert_killed(&mut waits.store, id);
    }
    // The timer may be set for the end of the slice as well.
    waits.check_seen(3, 2);
    drop(waits);
    killer.join().unwrap();
}

fn host_code_is_disturbed_once_after_a_guest_that_it_calls(preemption: Preemption) {
    let mut waits = Waits::new(preemption);
    waits.linker.allow_shadowing(true);
    waits
        .linker
        .func_wrap("", "wait", |mut caller: Caller<'_, Seen>| {
            let engine = caller.engine().clone();
            let module = Module::new(&engine, STATELESS).unwrap();
            let nested = Instance::new(&mut caller, &module, &[]).unwrap();
            let sum = nested.get_typed_func::<i64, i64>(&mut caller, "sum");
            sum.unwrap().call(&mut caller, 1_000_000).unwrap();
            wait(caller);
        })
        .unwrap();
    let id = waits.spawn("wait", &[Val::I32(2)]);
    waits.check(id, 2);
}
