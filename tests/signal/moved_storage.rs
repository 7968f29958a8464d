//! Threads are stopped at each instruction that uses a table or an element segment, and
//! meanwhile somebody else makes the table move, or drops the segment.
//!
//! Host functions then allocate what was freed, if anything was, and fill it with junk.

use super::stepping::{self, Plan};
use super::support::*;

/// Each `read_*` returns the same however often the table moves. `$t` has room for no more than
/// it holds, so that each growth moves it, and its elements are of the size that `junk` allocates.
const GUESTS: &str = r#"
(module
  (import "" "start" (func $start))
  (import "" "stop" (func $stop))
  (import "" "junk" (func $junk))
  (type $unary (func (param i32) (result i32)))
  (table $t 8 funcref)
  (table $u 8 funcref)
  (elem (table $t) (i32.const 0) func $double $square $double $square $double $square $double $square)
  (elem $e func $double $square $double $square $double $square $double $square)
  (func $double (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))
  (func $square (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))

  (func (export "move_table") (local $i i32)
    (loop $again
      (drop (table.grow $t (ref.func $square) (i32.mul (table.size $t) (i32.const 2))))
      (drop (table.grow $u (ref.func $square) (i32.mul (table.size $u) (i32.const 2))))
      (call $junk)
      (br_if $again (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3)))))
  (func (export "drop_segment") (elem.drop $e) (call $junk))

  (func (export "read_calls") (result i32)
    (call $start)
    (call_indirect $t (type $unary)
      (call_indirect $t (type $unary) (i32.const 7) (i32.const 3)) (i32.const 6))
    (call $stop))
  (func (export "read_elements") (result i32)
    (local $f funcref)
    (call $start)
    (local.set $f (table.get $t (i32.const 7)))
    (i32.add (ref.is_null (local.get $f)) (i32.ge_u (table.size $t) (i32.const 8)))
    (call $stop))
  (func (export "read_copied") (result i32)
    (call $start)
    (table.copy $u $t (i32.const 0) (i32.const 4) (i32.const 4))
    (call $stop)
    (i32.const 1))
  (func (export "write") (result i32)
    (call $start)
    (table.set $u (i32.const 2) (ref.func $double))
    (table.fill $u (i32.const 0) (ref.func $square) (i32.const 8))
    (table.init $u $e (i32.const 4) (i32.const 4) (i32.const 0))
    (call $stop)
    (i32.const 1))
  (func (export "read_segment") (result i32)
    (call $start)
    (table.init $u $e (i32.const 0) (i32.const 2) (i32.const 6))
    (call $stop)
    (i32.const 1)))
"#;

struct World {
    engine: Engine,
    module: Module,
    linker: Linker<Vec<Vec<u64>>>,
}

impl World {
    fn new() -> World {
        let engine = engine();
        let module = Module::new(&engine, GUESTS).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "start", stepping::start).unwrap();
        linker.func_wrap("", "stop", stepping::stop).unwrap();
        let junk = |mut caller: Caller<'_, Vec<Vec<u64>>>| {
            for len in [8, 16, 24, 32, 72, 96, 144, 216, 288] {
                for _ in 0..8 {
                    caller.data_mut().push(vec![0x5a5a_5a5a_5a5a_5a5a; len]);
                }
            }
        };
        linker.func_wrap("", "junk", junk).unwrap();
        World {
            engine,
            module,
            linker,
        }
    }

    /// Calls `export` as a thread which is stopped before its instruction `n`, and lets a sibling
    /// in the same instance call `meanwhile` then. Returns the result, and whether the thread was
    /// stopped.
    fn stop_at(&self, n: u64, export: &str, meanwhile: &str) -> (Exit, bool) {
        let mut store = Store::new(&self.engine, Vec::new());
        store.wasm_threads().set_sharing_allowed(true).unwrap();
        let slice = Slice::Time(Duration::from_secs(1_000));
        store.wasm_threads().set_slice(slice).unwrap();
        let instance = self.linker.instantiate(&mut store, &self.module).unwrap();
        let id = spawn_in(&mut store, instance, export, &[]);
        let sibling = spawn_in(&mut store, instance, meanwhile, &[]);
        stepping::prepare(Plan::At(n), &[&self.module], None);
        let summary = store.run_wasm_threads_for(Duration::from_secs(30));
        let seen = stepping::seen();
        assert_eq!(summary.unwrap().end, RunEnd::AllFinished);
        assert_eq!(seen.mistake, None, "{export} at {n}");
        returned(&mut store, sibling);
        (id.take_exit(&mut store).unwrap(), seen.preempted > 0)
    }

    /// At every instruction of `export`. Returns how many there were.
    fn stop_everywhere(&self, export: &str, meanwhile: &str, is_right: impl Fn(&Exit) -> bool) {
        let (_, stopped) = self.stop_at(u64::MAX, export, meanwhile);
        assert!(!stopped);
        for n in 0.. {
            let (exit, stopped) = self.stop_at(n, export, meanwhile);
            assert!(is_right(&exit), "{export} at {n}: {exit:?}");
            if !stopped {
                assert!(n > 5, "{export}: {n}");
                return;
            }
        }
    }
}

fn returns(expected: u128) -> impl Fn(&Exit) -> bool {
    move |exit| matches!(exit, Exit::Returned(values) if bits(values) == [expected])
}

#[test]
fn a_table_that_moves_at_any_instruction_is_read_as_ever() {
    let world = World::new();
    world.stop_everywhere("read_calls", "move_table", returns(98));
    world.stop_everywhere("read_elements", "move_table", returns(1));
    world.stop_everywhere("read_copied", "move_table", returns(1));
}

#[test]
fn a_table_that_moves_at_any_instruction_can_be_written() {
    World::new().stop_everywhere("write", "move_table", returns(1));
}

/// Out of bounds if it was dropped before it was looked at.
#[test]
fn a_segment_that_is_dropped_at_any_instruction_is_there_or_empty() {
    let is_right = |exit: &Exit| match exit {
        Exit::Trapped(error) => {
            matches!(error.downcast_ref(), Some(Trap::TableOutOfBounds))
        }
        exit => returns(1)(exit),
    };
    World::new().stop_everywhere("read_segment", "drop_segment", is_right);
}
