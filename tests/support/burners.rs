//! Guests that burn fuel in ways of their own, and how much of it.

use wasmtime::*;

/// Functions that do different things between two checks, and those given.
macro_rules! burners {
    ($more:literal) => {
        concat!(
            r#"
(module
  (import "" "host" (func $host))
  (memory 1)
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func (export "loop") (param i32) (result i32)
    (loop $again
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get 0)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.load (i32.const 0)))
  (func (export "host_calls") (param i32) (result i32)
    (loop $again
      (call $host)
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.const 0))
"#,
            $more
        )
    };
}
pub(crate) use burners;

/// With what [`burners`] import.
pub fn burners_linker(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("", "host", || {}).unwrap();
    linker
}

/// What a plain call uses, on a fresh store of an engine without preemption.
pub fn plain_fuel(burners: &str, (export, n): (&str, i32)) -> u64 {
    let engine = Engine::new(Config::new().consume_fuel(true)).unwrap();
    let module = Module::new(&engine, burners).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(u64::MAX).unwrap();
    let linker = burners_linker(&engine);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let func = instance.get_func(&mut store, export).unwrap();
    let before = store.get_fuel().unwrap();
    // One of them traps.
    let _ = func.call(&mut store, &[Val::I32(n)], &mut [Val::I32(0)]);
    before - store.get_fuel().unwrap()
}
