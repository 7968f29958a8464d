//! Adding the interfaces to a linker.

use crate::p2::support::State;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine};

#[test]
fn interfaces_cannot_be_added_twice() {
    let mut linker = Linker::<State>::new(&Engine::default());
    preempt_wasi::p2::add_to_linker(&mut linker).unwrap();
    let error = preempt_wasi::p2::add_to_linker(&mut linker).unwrap_err();
    assert!(format!("{error:?}").contains("defined twice"), "{error:?}");
}

#[test]
fn linker_allows_shadowing_as_before() {
    for allowed in [false, true] {
        let mut linker = Linker::<State>::new(&Engine::default());
        linker.allow_shadowing(allowed);
        preempt_wasi::p2::add_to_linker(&mut linker).unwrap();
        let mut root = linker.root();
        root.func_wrap("twice", |_, (): ()| Ok(())).unwrap();
        let again = root.func_wrap("twice", |_, (): ()| Ok(()));
        assert_eq!(again.is_ok(), allowed);
    }
}

#[test]
fn engine_without_concurrency_is_an_error() {
    let engine = Engine::new(Config::new().concurrency_support(false)).unwrap();
    let mut linker = Linker::<State>::new(&engine);
    let error = preempt_wasi::p2::add_to_linker(&mut linker).unwrap_err();
    assert!(
        format!("{error:?}").contains("concurrency_support"),
        "{error:?}"
    );
}
