//! Constants that look like instructions by which the handler tells how much of its frame a
//! function has. Cranelift puts them behind the code, so the function's memory has them too.

use crate::signal::support::{engine, store};
use crate::support::{ms, until_preempted};
use wasmtime::*;

/// Its loop can be left by nothing but a trap, and constants follow. Between the start of the
/// function and them are vector instructions only.
fn guest(words: [u32; 2]) -> String {
    let [first, second] = words;
    format!(
        r#"(module
            (global $a (mut v128) (v128.const i64x2 0 0))
            (global $b (mut v128) (v128.const i64x2 0 0))
            (func (export "run") (param i32 i32)
                (global.set $a
                    (v128.not
                        (i32x4.add
                            (i32x4.sub (global.get $a) (global.get $b))
                            (v128.const i32x4 {first} {second} {first} 0x12345671))))
                (loop $again
                    (br_if $again (i32.eq (local.get 0) (local.get 1))))
                unreachable))"#
    )
}

#[test]
fn a_function_is_preempted_whatever_its_constants_are() {
    for words in [
        // aarch64: stp x29, x30, [sp], and with the mov after it; ldp x29, x30, [sp], #16 and ret.
        [0xa900_7bfd, 0xa900_7bfd],
        [0xa900_7bfd, 0x9100_03fd],
        [0xa8c1_7bfd, 0xd65f_03c0],
        // x86-64: push rbp; mov rbp, rsp. And mov rsp, rbp; pop rbp; ret.
        [0xe589_4855, 0xe589_4855],
        [0x5dec_8948, 0xc3c3_c3c3],
        [0x5dec_8948, 0x0000_28c2],
    ] {
        let engine = engine();
        let module = Module::new(&engine, guest(words)).unwrap();
        let mut store = store(&engine, ());
        for _ in 0..2 {
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            let args = [Val::I32(1), Val::I32(1)];
            store.spawn_wasm_thread(run, &args).unwrap();
        }
        until_preempted(10, || {
            store.run_wasm_threads_for(ms(20)).unwrap().preemptions
        });
        assert_eq!(store.shutdown_wasm_threads(), 2, "{words:x?}");
    }
}
