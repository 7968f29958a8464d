//! What the fuzz target `command_line` does: see docs/fuzzing.md. Nothing on a command line makes
//! the command panic, and values are shown so that they can be given again.

use crate::args::{Cli, Command, RunArgs};
use crate::component::wave;
use crate::guest::GuestSpec;
use crate::names;
use crate::settings;
use crate::values::{self, Value};
use crate::{limits, mode::Mode, times};
use clap::Parser;
use std::sync::OnceLock;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{Component, Type, Val as ComponentVal};
use wasmtime::{Engine, Val, ValType};

/// A text after a first byte that says what it is.
pub fn run(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    match kind {
        b'w' => waves(&text),
        b'v' => value(&text),
        b's' => small(&text),
        _ => command(&text),
    }
}

/// One argument a line.
fn command(text: &str) {
    let args = std::iter::once("preempt").chain(text.lines());
    match Cli::try_parse_from(args) {
        Ok(Cli { command }) => match command {
            Command::Run(args) => settings_of(&args),
            Command::Serve(_) | Command::Compile(_) => {}
        },
        Err(error) => {
            let shown = names::text(&error.render().to_string());
            assert!(!shown.is_empty());
        }
    }
}

/// As [`crate::run`], but for what reads files.
fn settings_of(args: &RunArgs) {
    let guests = &args.guests;
    says(args.slice.slice());
    says(args.limits.of(guests));
    says(args.until.guests(guests));
    says(args.schedule.seeds(args.slice.preemption));
    says(args.outputs.trace_events());
    says(args.outputs.step(args.slice.preemption));
    for guest in guests {
        says(GuestSpec::parse(guest, |_| false));
    }
    assert_eq!(names::labels(guests).len(), guests.len());
}

/// An error says something, in one line.
fn says<T>(result: wasmtime::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let shown = names::text(&format!("{error:#}"));
            assert!(!shown.is_empty() && !shown.contains('\u{1b}'), "{shown}");
            None
        }
    }
}

/// Times, sizes, slices, and values for one guest.
fn small(text: &str) {
    let _ = times::parse(text);
    says(limits::bytes(text));
    for mode in [Mode::Fuel, Mode::Epoch, Mode::Signal] {
        says(mode.parse_slice(text));
    }
    says(settings::parse(text, limits::bytes));
    let guests = ["a".to_string(), "b=c".to_string(), String::new()];
    settings::split(text, &guests, |value| !value.is_empty());
    for exists in [false, true] {
        let Some(spec) = says(GuestSpec::parse(text, |_| exists)) else {
            continue;
        };
        assert!(text.starts_with(&*spec.file.to_string_lossy()), "{spec:?}");
        let Some(export) = spec.export.filter(|export| !export.contains(['\\', '('])) else {
            continue;
        };
        assert!(
            text.contains(&format!(":{export}")) || text.contains('\\'),
            "{export}"
        );
    }
}

/// A value of a module's function.
fn value(text: &str) {
    for ty in [ValType::I32, ValType::I64, ValType::F32, ValType::F64] {
        let Some(value) = says(values::parse(&ty, text)) else {
            continue;
        };
        let shown = Value::from(&value).text;
        let again = values::parse(&ty, &shown).expect("what is shown can be given");
        assert!(is_same(&value, &again), "{value:?} is shown as {shown}");
    }
}

fn is_same(a: &Val, b: &Val) -> bool {
    match (a, b) {
        (Val::I32(a), Val::I32(b)) => a == b,
        (Val::I64(a), Val::I64(b)) => a == b,
        (Val::F32(a), Val::F32(b)) => a == b || f32::from_bits(*a).is_nan(),
        (Val::F64(a), Val::F64(b)) => a == b || f64::from_bits(*a).is_nan(),
        _ => false,
    }
}

/// The arguments of a component's function, in WAVE.
fn waves(text: &str) {
    let call = format!("f({text})");
    let Ok(parsed) = UntypedFuncCall::parse(&call) else {
        return;
    };
    let Some(nodes) = parsed.params_node() else {
        return;
    };
    let Ok(nodes) = nodes.as_tuple() else {
        return;
    };
    for node in nodes {
        for ty in types() {
            let Ok(value) = node.to_wasm_value::<ComponentVal>(ty, &call) else {
                continue;
            };
            let shown = value.to_wave().expect("there is a form for it");
            let again = ComponentVal::from_wave(ty, &shown);
            let again = again.unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert_eq!(again.to_wave().expect("there is a form for it"), shown);
            let _ = wave::value(&value);
            let _ = (wave::example(ty), wave::type_name(ty));
        }
    }
}

/// Types of all kinds.
const TYPES: &str = r#"
(component
  (type $record-type (record (field "a" u8) (field "list" (list s16)) (field "o" (option char))))
  (import "record" (type $record (eq $record-type)))
  (type $variant-type (variant (case "none") (case "some" (tuple string f32)) (case "ok" s64)))
  (import "variant" (type $variant (eq $variant-type)))
  (type $enum-type (enum "red" "inf" "true"))
  (import "enum" (type $enum (eq $enum-type)))
  (type $flags-type (flags "x" "y-z"))
  (import "flags" (type $flags (eq $flags-type)))
  (import "f" (func
    (param "a" bool) (param "b" s8) (param "c" u64) (param "d" f64) (param "e" char)
    (param "g" string) (param "h" (list string)) (param "i" $record) (param "j" $variant)
    (param "k" $enum) (param "l" $flags) (param "m" (result u8 (error string)))
    (param "n" (option (option u8))) (param "o" (tuple bool (list (list u8)))) (param "p" (result)))))
"#;

fn types() -> &'static [Type] {
    static FOUND: OnceLock<Vec<Type>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let engine = Engine::default();
        let component = Component::new(&engine, TYPES).expect("it is valid");
        let imports = component.component_type();
        let import = imports.get_import(&engine, "f").expect("it is imported");
        let ComponentItem::ComponentFunc(func) = import.ty else {
            panic!("it is a function");
        };
        func.params().map(|(_, ty)| ty).collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn inputs_that_were_worth_keeping_do_not_panic() {
        let corpus = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fuzz/corpus/command_line"
        );
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let input = entry.unwrap().path();
            eprintln!("{}", input.display());
            super::run(&std::fs::read(input).unwrap());
            inputs += 1;
        }
        assert!(inputs > 10, "{inputs} inputs");
    }
}
