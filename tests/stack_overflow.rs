//! A stack overflow ends its own thread only, and a thread has its whole stack
//! whatever its siblings do with theirs.

use crate::support::*;
use wasmtime::*;

/// Deep recursion, which is preempted in the depth.
const DEEP: &str = r#"
(module
  (import "" "host" (func $host))
  (func $down (export "down") (param $n i32) (result i32)
    (if (result i32) (i32.eqz (local.get $n))
      (then (call $spin (i32.const TURNS)) (i32.const 0))
      (else (i32.add (i32.const 1)
        (call $down (i32.sub (local.get $n) (i32.const 1)))))))
  (func $spin (param $n i32)
    (loop $again
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func $endless (export "endless") (call $endless))
  (func $endless_host (export "endless_host") (call $host) (call $endless_host)))
"#;

for_each_preemption!(
    an_overflow_ends_its_own_thread_only,
    the_depth_is_that_of_a_plain_call,
    a_smaller_stack_overflows_earlier,
    an_overflow_at_a_host_call_is_a_trap,
);

fn deep(config: &Config, slice: Slice) -> (Store<()>, Linker<()>, Module) {
    let engine = Engine::new(config).unwrap();
    let turns = match slice {
        Slice::Fuel(_) => some_turns(Preemption::Fuel),
        _ => some_turns(Preemption::Epoch),
    };
    let module = Module::new(&engine, DEEP.replace("TURNS", &turns.to_string())).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "host", || {}).unwrap();
    let store = store_with_slice(&engine, (), slice);
    (store, linker, module)
}

fn assert_overflowed(store: &mut Store<()>, id: ThreadId) {
    let error = trapped(store, id);
    assert_eq!(
        error.downcast_ref(),
        Some(&Trap::StackOverflow),
        "{error:?}"
    );
}

fn an_overflow_ends_its_own_thread_only(preemption: Preemption) {
    let (mut store, linker, module) = deep(&config(preemption), shortest_slice(preemption));
    until_preempted(10, || {
        let threads = [(); 5].map(|()| {
            let down = spawn_linked(&mut store, &linker, &module, "down", &[Val::I32(3_000)]);
            let endless = spawn_linked(&mut store, &linker, &module, "endless", &[]);
            (down, endless)
        });
        let run = run_all(&mut store);
        for (down, endless) in threads {
            assert_eq!(bits(&returned(&mut store, down)), [3_000]);
            assert_overflowed(&mut store, endless);
        }
        run.preemptions
    });
    // Also with the stack of one that had overflown.
    let again = spawn_linked(&mut store, &linker, &module, "down", &[Val::I32(3_000)]);
    run_all(&mut store);
    assert_eq!(bits(&returned(&mut store, again)), [3_000]);
}

/// The least depth that overflows, to 64 frames.
fn depth(mut overflows: impl FnMut(i32) -> bool) -> i32 {
    let (mut fits, mut too_much) = (0, 1 << 20);
    while too_much - fits > 64 {
        let n = (fits + too_much) / 2;
        match overflows(n) {
            true => too_much = n,
            false => fits = n,
        }
    }
    fits
}

fn thread_depth(config: &Config, slice: Slice) -> i32 {
    let (mut store, linker, module) = deep(config, slice);
    depth(|n| {
        let id = spawn_linked(&mut store, &linker, &module, "down", &[Val::I32(n)]);
        run_all(&mut store);
        match id.take_exit(&mut store) {
            Some(Exit::Returned(_)) => false,
            Some(Exit::Trapped(error)) => {
                assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
                true
            }
            other => panic!("{other:?}"),
        }
    })
}

fn the_depth_is_that_of_a_plain_call(preemption: Preemption) {
    let config = config(preemption);
    let (mut store, linker, module) = deep(&config, short_slice(preemption));
    let down = linker.instantiate(&mut store, &module).unwrap();
    let down = down.get_typed_func::<i32, i32>(&mut store, "down").unwrap();
    let plain = depth(|n| down.call(&mut store, n).is_err());
    let thread = thread_depth(&config, short_slice(preemption));
    assert!(plain > 1_000);
    assert!((plain - thread).abs() <= 256, "{plain} to {thread}");
}

fn a_smaller_stack_overflows_earlier(preemption: Preemption) {
    let mut config = config(preemption);
    let usual = thread_depth(&config, short_slice(preemption));
    config.max_wasm_stack(64 << 10);
    config.async_stack_size(256 << 10);
    let small = thread_depth(&config, short_slice(preemption));
    assert!(small > 100, "{small}");
    assert!(small < usual / 4, "{small} of {usual}");
}

fn an_overflow_at_a_host_call_is_a_trap(preemption: Preemption) {
    let (mut store, linker, module) = deep(&config(preemption), shortest_slice(preemption));
    let id = spawn_linked(&mut store, &linker, &module, "endless_host", &[]);
    let sibling = spawn_linked(&mut store, &linker, &module, "down", &[Val::I32(10)]);
    run_all(&mut store);
    assert_overflowed(&mut store, id);
    assert_eq!(bits(&returned(&mut store, sibling)), [10]);
}
