//! `Config::loop_checks_preserve_registers`.

use wasmtime::*;

/// Keeps more vectors alive in its loop than there are registers.
fn guest() -> String {
    let n = 20;
    let locals = "(local v128)".repeat(n);
    let start: String = (0..n)
        .map(|i| {
            format!(
                "(local.set {} (f64x2.splat (f64.const 0.{})))",
                i + 1,
                i + 1
            )
        })
        .collect();
    let step: String = (1..=n)
        .map(|i| {
            let next = i % n + 1;
            format!(
                "(local.set {i} (f64x2.sub
                    (f64x2.mul (local.get {i}) (f64x2.splat (f64.const 1.5)))
                    (f64x2.floor (local.get {next}))))"
            )
        })
        .collect();
    let sum: String = (1..=n)
        .map(|i| format!("(local.get {i}) v128.xor "))
        .collect();
    format!(
        "(module (func (export \"run\") (param i32) (result i64) {locals}
            {start}
            (loop $again
                {step}
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            v128.const i64x2 0 0
            {sum}
            i64x2.extract_lane 1))"
    )
}

fn engine(preserve: bool, configure: fn(&mut Config)) -> Engine {
    let mut config = Config::new();
    config.loop_checks_preserve_registers(preserve);
    configure(&mut config);
    Engine::new(&config).unwrap()
}

fn instantiate(store: &mut Store<u64>) -> TypedFunc<i32, i64> {
    let module = Module::new(store.engine(), guest()).unwrap();
    let instance = Instance::new(&mut *store, &module, &[]).unwrap();
    instance.get_typed_func(store, "run").unwrap()
}

#[test]
#[cfg_attr(miri, ignore)]
fn loops_keep_their_values_across_epochs() {
    let [without, with] = [false, true].map(|preserve| {
        let engine = engine(preserve, |config| {
            config.epoch_interruption(true);
        });
        let mut store = Store::new(&engine, 0);
        store.epoch_deadline_callback(|mut store| {
            *store.data_mut() += 1;
            Ok(UpdateDeadline::Continue(0))
        });
        let run = instantiate(&mut store);
        (run.call(&mut store, 100).unwrap(), *store.data())
    });
    assert_eq!(without, with);
    // One for each iteration, and one for the function's entry.
    assert_eq!(with.1, 101);
}

#[test]
#[cfg_attr(miri, ignore)]
fn fuel_does_not_depend_on_the_setting() {
    let [without, with] = [false, true].map(|preserve| {
        let engine = engine(preserve, |config| {
            config.consume_fuel(true);
        });
        let mut store = Store::new(&engine, 0);
        store.set_fuel(1_000_000).unwrap();
        let run = instantiate(&mut store);
        let result = run.call(&mut store, 100).unwrap();
        let used = 1_000_000 - store.get_fuel().unwrap();
        store.set_fuel(used - 1).unwrap();
        let error = run.call(&mut store, 100_000).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
        (result, used, store.get_fuel().unwrap())
    });
    assert_eq!(without, with);
}

#[test]
#[cfg_attr(miri, ignore)]
fn code_of_another_setting_is_refused() {
    for preserve in [false, true] {
        let configure = |config: &mut Config| {
            config.epoch_interruption(true);
        };
        let code = engine(preserve, configure)
            .precompile_module(guest().as_bytes())
            .unwrap();
        // SAFETY: made by an engine, just now.
        let refused = unsafe { Module::deserialize(&engine(!preserve, configure), &code) };
        assert!(refused.is_err());
    }
}
