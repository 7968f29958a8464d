//! Whether a module can be stopped at any instruction, as `--preemption signal` does.
//!
//! The Store finds out too, but only once a guest has an instance.

use wasmparser::{ElementKind, ElementSectionReader, Parser, Payload, TableSectionReader};
use wasmtime::{Engine, Module, Result, bail};

/// Checks that the timer signal may stop the code of `binary`.
///
/// `engine` must have `Preemption::Signal`. Anything else that is wrong with the module is
/// left for its compiler to report.
///
/// # Errors
///
/// If it may not; the error suggests `--preemption epoch`.
pub fn ensure(engine: &Engine, binary: &[u8]) -> Result<()> {
    if let Err(error) = Module::validate(engine, binary) {
        return match Module::validate(&Engine::default(), binary) {
            Ok(()) => Err(error.context(
                "--preemption signal takes no garbage-collected references and no exceptions, \
                 as a guest that is stopped at any instruction could have one in any register; \
                 use --preemption epoch",
            )),
            Err(_) => Ok(()),
        };
    }
    for payload in Parser::new(0).parse_all(binary) {
        match payload? {
            Payload::TableSection(tables) => ensure_tables_stay(tables)?,
            Payload::ElementSection(segments) => ensure_segments_stay(segments)?,
            _ => {}
        }
    }
    Ok(())
}

fn ensure_tables_stay(tables: TableSectionReader<'_>) -> Result<()> {
    for (index, table) in tables.into_iter().enumerate() {
        let ty = table?.ty;
        if ty.maximum != Some(ty.initial) {
            bail!(
                "--preemption signal takes no tables that can grow, as they may move \
                 while a guest that is stopped has the address in a register, and its \
                 table {index} can; use --preemption epoch, or declare the table with a \
                 maximum that equals its minimum of {}",
                ty.initial
            );
        }
    }
    Ok(())
}

fn ensure_segments_stay(segments: ElementSectionReader<'_>) -> Result<()> {
    for (index, segment) in segments.into_iter().enumerate() {
        if let ElementKind::Passive = segment?.kind {
            bail!(
                "--preemption signal takes no passive element segments, as one may be \
                 dropped while a guest that is stopped copies from it, and its element \
                 segment {index} is passive; use --preemption epoch, or make the segment \
                 active or declarative"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Preemption};

    /// The error for a module; `None` where such signals do not exist.
    fn refusal(wat: &str) -> Option<String> {
        let Preemption::Signal = Preemption::for_this_host() else {
            return None;
        };
        let mut config = Config::new();
        config.preemption(Preemption::Signal);
        let engine = Engine::new(&config).unwrap();
        let refused = ensure(&engine, &wat::parse_str(wat).unwrap());
        Some(refused.map_or_else(|error| format!("{error:#}"), |()| String::new()))
    }

    fn refused(wat: &str, why: &str) {
        if let Some(error) = refusal(wat) {
            assert!(error.contains(why), "{wat}: {error}");
            assert!(error.contains("use --preemption epoch"), "{wat}: {error}");
        }
    }

    #[test]
    fn tables_that_can_grow_are_refused() {
        refused(
            "(module (table 1 1 funcref) (table 3 funcref))",
            "table 1 can",
        );
        refused("(module (table 3 4 funcref))", "minimum of 3");
    }

    #[test]
    fn passive_element_segments_are_refused() {
        refused(
            "(module (table 1 1 funcref) (func $f) (elem (i32.const 0) $f) (elem func $f))",
            "element segment 1 is passive",
        );
    }

    #[test]
    fn references_and_exceptions_are_refused() {
        for wat in [
            "(module (type (struct)))",
            "(module (func (param externref)))",
            "(module (func (param anyref)))",
            "(module (tag))",
        ] {
            refused(wat, "no garbage-collected references and no exceptions");
        }
    }

    #[test]
    fn what_compilers_make_is_accepted() {
        let wat = "(module (memory 1) (table 2 2 funcref) (func $f) (elem (i32.const 0) $f) \
            (elem declare func $f) (func (result funcref) (ref.func $f)))";
        assert!(refusal(wat).is_none_or(|error| error.is_empty()));
    }

    #[test]
    fn modules_that_no_mode_takes_are_left_to_the_compiler() {
        let wat = "(module (func (result i32)))";
        assert!(refusal(wat).is_none_or(|error| error.is_empty()));
    }
}
