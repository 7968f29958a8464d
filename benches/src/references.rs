//! Subjects: guests that live on references to the garbage-collected heap, in engines that
//! interrupt them by different means.

use crate::guest;
use crate::os::timed;
use crate::paired::Subject;
use std::time::Duration;
use wasmtime::{Collector, Config, Engine, Module, Preemption, Result, Slice, Store, TypedFunc};

struct Kernel {
    name: &'static str,
    /// What is in the module besides the loop.
    items: &'static str,
    /// What is done in each round of the loop, whose number is in local 0.
    round: &'static str,
    /// How long the list or array is that is made once, and given to `round` as `$n`.
    n: u32,
}

const KERNELS: &[Kernel] = &[
    Kernel {
        name: "make and sum a tree of 127 nodes",
        items: "(type $tree (struct (field i64) (field (ref null $tree)) (field (ref null $tree))))
            (func $make (param i32) (result (ref null $tree))
                (if (i32.eqz (local.get 0)) (then (return (ref.null $tree))))
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (struct.new $tree (i64.extend_i32_u (local.get 0))
                    (call $make (local.get 0)) (call $make (local.get 0))))
            (func $sum (param (ref null $tree)) (result i64)
                (if (ref.is_null (local.get 0)) (then (return (i64.const 0))))
                (i64.add (struct.get $tree 0 (local.get 0)) (i64.add
                    (call $sum (struct.get $tree 1 (local.get 0)))
                    (call $sum (struct.get $tree 2 (local.get 0))))))",
        round: "(drop (call $sum (call $make (local.get $n))))",
        n: 7,
    },
    Kernel {
        name: "make, reverse and sum a list of 100 nodes",
        items: "(type $list (struct (field i64) (field (mut (ref null $list)))))
            (func $make (param i32) (result (ref null $list)) (local (ref null $list))
                (loop
                    (local.set 1 (struct.new $list
                        (i64.extend_i32_u (local.get 0)) (local.get 1)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1))
            (func $reverse (param (ref null $list)) (result (ref null $list))
                (local (ref null $list)) (local (ref null $list))
                (loop
                    (local.set 2 (struct.get $list 1 (local.get 0)))
                    (struct.set $list 1 (local.get 0) (local.get 1))
                    (local.set 1 (local.get 0))
                    (local.set 0 (local.get 2))
                    (br_if 0 (i32.eqz (ref.is_null (local.get 0)))))
                (local.get 1))
            (func $sum (param (ref null $list)) (result i64) (local i64)
                (loop
                    (local.set 1 (i64.add (local.get 1) (struct.get $list 0 (local.get 0))))
                    (local.set 0 (struct.get $list 1 (local.get 0)))
                    (br_if 0 (i32.eqz (ref.is_null (local.get 0)))))
                (local.get 1))",
        round: "(drop (call $sum (call $reverse (call $make (local.get $n)))))",
        n: 100,
    },
    Kernel {
        name: "hash a string of 200 bytes",
        items: "(type $string (array (mut i8)))
            (global $text (mut (ref null $string)) (ref.null $string))
            (func $hash (param (ref null $string)) (result i32) (local i32 i32)
                (loop
                    (local.set 2 (i32.add (i32.mul (local.get 2) (i32.const 31))
                        (array.get_u $string (local.get 0) (local.get 1))))
                    (br_if 0 (i32.lt_u
                        (local.tee 1 (i32.add (local.get 1) (i32.const 1)))
                        (array.len (local.get 0)))))
                (local.get 2))",
        round: "(if (ref.is_null (global.get $text)) (then
                (global.set $text (array.new $string (i32.const 97) (local.get $n)))))
            (drop (call $hash (global.get $text)))",
        n: 200,
    },
    Kernel {
        name: "call 50 closures",
        items: "(rec
                (type $closure (sub (struct (field (ref $function)))))
                (type $function (func (param (ref $closure) i64) (result i64))))
            (type $adds (sub $closure (struct (field (ref $function)) (field i64))))
            (elem declare func $add)
            (func $add (type $function)
                (i64.add (local.get 1)
                    (struct.get $adds 1 (ref.cast (ref $adds) (local.get 0)))))
            (func $call (param i32) (result i64) (local (ref null $closure)) (local i64)
                (local.set 1 (struct.new $adds (ref.func $add) (i64.const 7)))
                (loop
                    (local.set 2 (call_ref $function
                        (ref.as_non_null (local.get 1)) (local.get 2)
                        (struct.get $closure 0 (local.get 1))))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 2))",
        round: "(drop (call $call (local.get $n)))",
        n: 50,
    },
    Kernel {
        name: "throw and catch",
        items: "(tag $t (param i32))
            (func $throw (param i32) (throw $t (local.get 0)))",
        round: "(block $caught (result i32)
                (try_table (catch $t $caught) (call $throw (local.get $n)))
                (unreachable))
            (drop)",
        n: 1,
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A plain call that nothing interrupts.
    Nothing,
    /// A plain call whose code checks epochs.
    Epochs,
    /// A guest thread that has the CPU to itself, preempted by signals if it had not.
    Signals,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Nothing => "uninterrupted",
            Mode::Epochs => "epochs",
            Mode::Signals => "guest thread, signals",
        }
    }
}

/// The subjects of each guest, in the order of [`Mode`]'s variants.
pub fn subjects() -> Result<(Vec<Subject<'static>>, Vec<[&'static str; 3]>)> {
    let mut subjects = Vec::new();
    let mut groups = Vec::new();
    for kernel in KERNELS {
        let mut names = [""; 3];
        let modes = [Mode::Nothing, Mode::Epochs, Mode::Signals];
        for (name, mode) in names.iter_mut().zip(modes) {
            *name = format!("{}, {}", kernel.name, mode.name()).leak();
            let mut guest = Guest::new(kernel, mode)?;
            subjects.push(Subject::new(name, move |times| guest.run(times)));
        }
        groups.push(names);
    }
    Ok((subjects, groups))
}

struct Guest {
    store: Store<()>,
    run: TypedFunc<(i64, i32), ()>,
    mode: Mode,
    n: u32,
}

impl Guest {
    fn new(kernel: &Kernel, mode: Mode) -> Result<Guest> {
        let mut config = Config::new();
        config.collector(Collector::Copying).wasm_exceptions(true);
        match mode {
            Mode::Nothing => {}
            Mode::Epochs => {
                config.epoch_interruption(true);
            }
            Mode::Signals => {
                config.preemption(Preemption::Signal);
            }
        }
        let engine = Engine::new(&config)?;
        let module = format!(
            r#"(module
                {}
                (func (export "run") (param i64) (param $n i32)
                    (loop $round
                        {}
                        (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
                        (br_if $round (i64.gt_s (local.get 0) (i64.const 0))))))"#,
            kernel.items, kernel.round
        );
        let module = Module::new(&engine, module)?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        if mode == Mode::Signals {
            let slice = Slice::Time(Duration::from_millis(10));
            store.wasm_threads().set_slice(slice)?;
        }
        let run = guest::func_of(&mut store, &module, &[])?;
        let run = run.typed(&store)?;
        Ok(Guest {
            store,
            run,
            mode,
            n: kernel.n,
        })
    }

    fn run(&mut self, times: u64) -> Result<Duration> {
        let params = (times as i64, self.n as i32);
        if self.mode == Mode::Signals {
            guest::spawn(&mut self.store, &self.run, params)?;
            return Ok(guest::finish(&mut self.store)?.0);
        }
        Ok(timed(|| self.run.call(&mut self.store, params))?.0)
    }
}
