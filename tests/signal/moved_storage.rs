//! Threads are stopped at each instruction that uses a table or an element segment, and
//! meanwhile somebody else makes the table move, or drops the segment.
//!
//! Host functions then allocate what was freed, if anything was, and fill it with junk, which
//! nobody may change. What a guest has copied, it calls afterwards.

use super::stepping::{self, Plan};
use super::support::*;

/// `$t` and `$u` have room for no more than they hold, so that each growth moves them, and what
/// they are moved out of is of a size that `junk` allocates.
///
/// Functions in the tables return 1 when they are called. `past_*` use an element that is there
/// only once the table has grown.
const GUESTS: &str = r#"
(module
  (import "" "start" (func $start))
  (import "" "stop" (func $stop))
  (import "" "junk" (func $junk))
  TABLES
  (type $f (func (result i32)))
  (elem (table $t) (INDEX.const 0) func $f $f $f $f $f $f $f $f)
  (elem $e func $f $f $f $f $f $f $f $f)
  (func $f (type $f) (i32.const 1))

  (func (export "move_tables") (local $i i32)
    (loop $again
      (drop (table.grow $t (ref.func $f) (INDEX.mul (table.size $t) (INDEX.const 2))))
      (drop (table.grow $u (ref.func $f) (INDEX.mul (table.size $u) (INDEX.const 2))))
      (call $junk)
      (br_if $again (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3)))))
  (func (export "idle"))
  (func (export "drop_segment") (elem.drop $e) (call $junk))

  ;; What is in the segment has no need of a collector, nor has the table.
  (table $numbers 8 (ref null i31))
  (elem $nulls (ref null none)
    (ref.null none) (ref.null none) (ref.null none) (ref.null none)
    (ref.null none) (ref.null none) (ref.null none) (ref.null none))
  (func (export "drop_nulls") (elem.drop $nulls) (call $junk))
  (func (export "init_numbers") (result i32) (local $i i32)
    (call $start)
    (table.init $numbers $nulls (i32.const 0) (i32.const 0) (i32.const 8))
    (call $stop)
    (loop $again
      (if (i32.eqz (ref.is_null (table.get $numbers (local.get $i)))) (then unreachable))
      (br_if $again (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8))))
    (i32.const 1))

  (memory $m 1)
  (data (memory $m) (i32.const 0) "12345678")
  (func (export "move_memory")
    (drop (memory.grow $m (i32.const 1)))
    (call $junk))
  (func (export "load") (result i32)
    (call $start)
    (i64.eq (i64.load $m (i32.const 0)) (i64.const 0x3837363534333231))
    (call $stop))
  (func (export "store") (result i32)
    (call $start)
    (i64.store $m (i32.const 8) (i64.load $m (i32.const 0)))
    (memory.copy $m $m (i32.const 16) (i32.const 0) (i32.const 16))
    (i32.atomic.rmw.add $m (i32.const 64) (i32.const 5))
    (call $stop)
    (drop)
    (i32.and
      (i32.eq (i32.load $m (i32.const 64)) (i32.const 5))
      (i64.eq (i64.load $m (i32.const 24)) (i64.const 0x3837363534333231))))

  ;; Whether each of the first elements of $u is null or can be called: a write may be lost.
  (func $check (result i32) (local $i i32) (local $g funcref)
    (loop $again
      (if (i32.eqz (ref.is_null (table.get $u (AT (local.get $i)))))
        (then (if (i32.ne (call_indirect $u (type $f) (AT (local.get $i))) (i32.const 1))
          (then unreachable))))
      (br_if $again (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8))))
    (i32.const 1))

  (func (export "call") (result i32)
    (call $start)
    (i32.and (call_indirect $t (type $f) (INDEX.const 3))
      (call_indirect $t (type $f) (AT (i32.add (i32.const 6)
        (call_indirect $t (type $f) (INDEX.const 0))))))
    (call $stop))
  (func (export "get") (result i32) (local $g funcref)
    (call $start)
    (local.set $g (table.get $t (INDEX.const 7)))
    (call $stop)
    (table.set $u (INDEX.const 0) (local.get $g))
    (call $check))
  (func (export "set") (result i32)
    (call $start)
    (table.set $u (INDEX.const 7) (ref.func $f))
    (call $stop)
    (call $check))
  (func (export "fill") (result i32)
    (call $start)
    (table.fill $u (INDEX.const 0) (ref.func $f) (INDEX.const 8))
    (call $stop)
    (call $check))
  (func (export "copy") (result i32)
    (call $start)
    (table.copy $u $t (INDEX.const 0) (INDEX.const 4) (INDEX.const 4))
    (call $stop)
    (call $check))
  (func (export "init") (result i32)
    (call $start)
    (table.init $u $e (INDEX.const 0) (i32.const 2) (i32.const 6))
    (call $stop)
    (call $check))

  (func (export "past_call") (result i32)
    (call $start)
    (call_indirect $t (type $f) (INDEX.const 10))
    (call $stop))
  (func (export "past_get") (result i32)
    (call $start)
    (i32.eqz (ref.is_null (table.get $t (INDEX.const 10))))
    (call $stop))
  (func (export "past_set") (result i32)
    (call $start)
    (table.set $u (INDEX.const 10) (ref.func $f))
    (call $stop)
    (call $check))
  (func (export "past_fill") (result i32)
    (call $start)
    (table.fill $u (INDEX.const 9) (ref.func $f) (INDEX.const 5))
    (call $stop)
    (call $check))
  (func (export "past_copy") (result i32)
    (call $start)
    (table.copy $u $t (INDEX.const 10) (INDEX.const 9) (INDEX.const 5))
    (call $stop)
    (call $check))
  (func (export "past_init") (result i32)
    (call $start)
    (table.init $u $e (INDEX.const 9) (i32.const 0) (i32.const 5))
    (call $stop)
    (call $check)))
"#;

const TABLES: &str = "(table $t 8 funcref) (table $u 8 funcref)";
const IMPORTED_TABLES: &str = r#"
  (import "" "t" (table $t 8 funcref)) (import "" "u" (table $u 8 funcref))"#;
const WIDE_TABLES: &str = "(table $t i64 8 funcref) (table $u i64 8 funcref)";

fn guests(tables: &str, index: &str) -> String {
    let at = match index {
        "i32" => "i32.or (i32.const 0)",
        _ => "i64.extend_i32_u",
    };
    GUESTS
        .replace("TABLES", tables)
        .replace("(AT", &format!("({at}"))
        .replace("INDEX", index)
}

/// Each of which there is with `past_` before it, too.
const EXPORTS: [&str; 6] = ["call", "get", "set", "fill", "copy", "init"];

const JUNK: u64 = 0x5a5a_5a5a_5a5a_5a5a;

type Junk = Vec<Vec<u64>>;

struct World {
    engine: Engine,
    module: Module,
    linker: Linker<Junk>,
    tables_are_imported: bool,
    /// Whether not a sibling does what happens meanwhile, but the hooks around the preemption.
    in_hooks: bool,
}

impl World {
    fn new(config: &Config, tables: &str, index: &str) -> World {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, guests(tables, index)).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("", "start", stepping::start).unwrap();
        linker.func_wrap("", "stop", stepping::stop).unwrap();
        let junk = |mut caller: Caller<'_, Junk>| {
            for len in [8, 16, 24, 32, 72, 96, 144, 216, 288] {
                for _ in 0..8 {
                    caller.data_mut().push(vec![JUNK; len]);
                }
            }
        };
        linker.func_wrap("", "junk", junk).unwrap();
        World {
            engine,
            module,
            linker,
            tables_are_imported: tables.contains("import"),
            in_hooks: false,
        }
    }

    /// Calls `export` as a thread which is stopped before its instruction `n`, and lets a sibling
    /// in the same instance call `meanwhile` then. Returns its exit, and whether it was stopped.
    fn stop_at(&self, n: u64, export: &str, meanwhile: &str) -> (Exit, bool) {
        let mut store = Store::new(&self.engine, Junk::new());
        if self.engine.is_metered() {
            store.set_fuel(u64::MAX).unwrap();
        }
        store.wasm_threads().set_sharing_allowed(true).unwrap();
        let slice = Slice::Time(Duration::from_secs(1_000));
        store.wasm_threads().set_slice(slice).unwrap();
        let mut linker = self.linker.clone();
        if self.tables_are_imported {
            for name in ["t", "u"] {
                let ty = TableType::new(RefType::FUNCREF, 8, None);
                let table = Table::new(&mut store, ty, Ref::Func(None)).unwrap();
                linker.define(&store, "", name, table).unwrap();
            }
        }
        let instance = linker.instantiate(&mut store, &self.module).unwrap();
        let id = spawn_in(&mut store, instance, export, &[]);
        let sibling = match self.in_hooks {
            true => "idle",
            false => meanwhile,
        };
        let sibling = spawn_in(&mut store, instance, sibling, &[]);
        #[cfg(feature = "call-hook")]
        if self.in_hooks {
            let meanwhile = instance.get_func(&mut store, meanwhile).unwrap();
            call_in_hooks(&mut store, meanwhile);
        }
        stepping::prepare(Plan::At(n), &[&self.module], None);
        let summary = store.run_wasm_threads_for(Duration::from_secs(30));
        let seen = stepping::seen();
        assert_eq!(summary.unwrap().end, RunEnd::AllFinished);
        assert_eq!(seen.mistake, None, "{export} at {n}");
        returned(&mut store, sibling);
        let mut junk = store.data().iter().flatten();
        assert!(junk.all(|word| *word == JUNK), "{export} at {n}");
        (id.take_exit(&mut store).unwrap(), seen.preempted > 0)
    }

    /// As `stop_at`, and makes sure that the exit is right.
    fn check_at(&self, n: u64, export: &str, meanwhile: &str) -> bool {
        let can_be_late = export.starts_with("past") || meanwhile.starts_with("drop");
        let (exit, stopped) = self.stop_at(n, export, meanwhile);
        let is_right = match &exit {
            Exit::Returned(values) => bits(values) == [1],
            Exit::Trapped(error) => {
                can_be_late && matches!(error.downcast_ref(), Some(Trap::TableOutOfBounds))
            }
            _ => false,
        };
        assert!(is_right, "{export} at {n}: {exit:?}");
        stopped
    }

    /// At every instruction of `export`.
    fn stop_everywhere(&self, export: &str, meanwhile: &str) {
        let stopped = (0..).take_while(|n| self.check_at(*n, export, meanwhile));
        let instructions = stopped.count();
        assert!(instructions > 3, "{export}: {instructions}");
    }

    fn move_tables_everywhere(&self) {
        for export in EXPORTS {
            self.stop_everywhere(export, "move_tables");
            self.stop_everywhere(&format!("past_{export}"), "move_tables");
        }
        self.stop_everywhere("init", "drop_segment");
    }
}

trait Metered {
    fn is_metered(&self) -> bool;
}

impl Metered for Engine {
    fn is_metered(&self) -> bool {
        Store::new(self, ()).get_fuel().is_ok()
    }
}

#[test]
fn storage_that_moves_at_any_instruction_is_used_as_ever() {
    World::new(&config(), TABLES, "i32").move_tables_everywhere();
}

/// A function that works on a table of such references polls, and is not stopped in between.
#[test]
fn a_segment_of_null_references_may_be_dropped() {
    let world = World::new(&config(), TABLES, "i32");
    for n in 0..150 {
        world.check_at(n, "init_numbers", "drop_nulls");
    }
}

/// It does not, as long as somebody else can reach it.
#[test]
fn a_memory_that_should_move_at_any_instruction_is_used_as_ever() {
    let mut config = config();
    config
        .memory_reservation(0)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0);
    let world = World::new(&config, TABLES, "i32");
    for export in ["load", "store"] {
        world.stop_everywhere(export, "move_memory");
    }
}

#[test]
fn imported_tables_that_move_at_any_instruction_are_used_as_ever() {
    World::new(&config(), IMPORTED_TABLES, "i32").move_tables_everywhere();
}

#[test]
fn tables_with_wide_indices_that_move_at_any_instruction_are_used_as_ever() {
    World::new(&config(), WIDE_TABLES, "i64").move_tables_everywhere();
}

#[test]
fn storage_that_moves_at_any_instruction_is_used_as_ever_by_metered_guests() {
    World::new(&config_with_fuel(Preemption::Signal), TABLES, "i32").move_tables_everywhere();
}

#[test]
fn storage_that_moves_at_any_instruction_is_used_as_ever_without_signals_for_traps() {
    let mut config = config();
    config.signals_based_traps(false);
    let world = World::new(&config, TABLES, "i32");
    // Not past the end: the host's way to a trap is far too long to step through.
    for export in EXPORTS {
        world.stop_everywhere(export, "move_tables");
    }
}

/// Calls `func` in the first hook after a preemption: the thread that was stopped is still the one
/// that runs.
#[cfg(feature = "call-hook")]
fn call_in_hooks(store: &mut Store<Junk>, func: Func) {
    let mut called = false;
    store.call_hook(move |mut store, _| {
        if !called && stepping::has_preempted() {
            called = true;
            func.call(&mut store, &[], &mut [])?;
        }
        Ok(())
    });
}

#[cfg(feature = "call-hook")]
#[test]
fn storage_that_moves_in_a_call_hook_at_any_instruction_is_used_as_ever() {
    let mut world = World::new(&config(), TABLES, "i32");
    world.in_hooks = true;
    world.move_tables_everywhere();
}
