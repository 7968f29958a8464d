//! How a guest ended.

use crate::component::wave;
use crate::console::Closed;
use crate::limits::Limit;
use crate::values::Value;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use wasmtime::component::Val;
use wasmtime::preempt::TypedExit;
use wasmtime::{Exit, FrameInfo, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// How a guest ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Returned(Vec<Value>),
    /// `proc_exit` with a code other than 0, or the same of a component.
    Exited(i32),
    Trapped {
        error: String,
        /// Innermost function first.
        backtrace: Vec<String>,
    },
    OverLimit(Limit),
    /// Those that `--until` waits for had ended.
    Ended,
    /// The time was up, there was a Ctrl-C, or nobody could wake it.
    Stopped,
    /// It printed to a stream that nobody reads any more.
    Closed(Closed),
}

/// All outcomes have the same fields, so that readers need no special cases.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut results, mut code, mut why, mut over) = (&[][..], None, None, None);
        let mut frames = &[][..];
        let exit = match self {
            Outcome::Returned(values) => {
                results = values;
                "returned"
            }
            Outcome::Exited(status) => {
                code = Some(status);
                "exited"
            }
            Outcome::Trapped { error, backtrace } => {
                why = Some(error.clone());
                frames = backtrace;
                "trapped"
            }
            Outcome::OverLimit(limit) => {
                over = Some(limit);
                "over_limit"
            }
            Outcome::Ended => "ended",
            Outcome::Stopped => "stopped",
            Outcome::Closed(closed) => {
                why = Some(closed.to_string());
                "stopped"
            }
        };
        let results: Vec<_> = results.iter().map(|value| &value.json).collect();
        let mut fields = serializer.serialize_struct("Outcome", 6)?;
        fields.serialize_field("exit", exit)?;
        fields.serialize_field("results", &results)?;
        fields.serialize_field("code", &code)?;
        fields.serialize_field("error", &why)?;
        fields.serialize_field("backtrace", frames)?;
        fields.serialize_field("limit", &over)?;
        fields.end()
    }
}

impl Outcome {
    /// For the table.
    pub fn shown(&self) -> String {
        match self {
            Outcome::OverLimit(limit) => format!("over {limit}"),
            Outcome::Closed(closed) => format!("stopped: {closed}"),
            other => other.word(),
        }
    }

    /// In a single word, for the live view.
    pub fn word(&self) -> String {
        match self {
            Outcome::Returned(_) => "returned".to_string(),
            Outcome::Exited(code) => format!("exited {code}"),
            Outcome::Trapped { .. } => "trapped".to_string(),
            Outcome::OverLimit(_) => "over limit".to_string(),
            Outcome::Ended => "ended".to_string(),
            Outcome::Stopped | Outcome::Closed(_) => "stopped".to_string(),
        }
    }

    /// Whether the guest did what was asked of it.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Returned(_) | Outcome::Ended)
    }

    /// The status of a command that runs only this guest, as of `wasmtime run`.
    pub fn status(&self) -> u8 {
        /// What a shell says of a process that was ended by SIGABRT.
        const ABORTED: u8 = 128 + 6;
        match self {
            Outcome::Returned(_) | Outcome::Ended => 0,
            // The OS keeps only the lowest byte, and 0 would be a success.
            Outcome::Exited(code) => (*code as u8).max(1),
            Outcome::Trapped { .. } => ABORTED,
            Outcome::OverLimit(_) | Outcome::Stopped | Outcome::Closed(_) => 1,
        }
    }
}

impl From<&Exit> for Outcome {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Returned(results) => Outcome::Returned(results.iter().map(Value::from).collect()),
            Exit::Trapped(error) => Outcome::from(error),
            Exit::OverLimit(over) => Outcome::OverLimit(Limit(*over)),
            _ => Outcome::Stopped,
        }
    }
}

impl Outcome {
    /// How a component ended. A command's only result says whether it succeeded.
    pub fn of_component(exit: TypedExit<Vec<Val>>, is_command: bool) -> Outcome {
        match exit {
            TypedExit::Returned(results) => match &results[..] {
                [Val::Result(Ok(_))] if is_command => Outcome::Returned(Vec::new()),
                [Val::Result(Err(_))] if is_command => Outcome::Exited(1),
                results => Outcome::Returned(results.iter().map(wave::value).collect()),
            },
            TypedExit::Trapped(error) => Outcome::from(&error),
            TypedExit::OverLimit(over) => Outcome::OverLimit(Limit(over)),
            _ => Outcome::Stopped,
        }
    }
}

/// `proc_exit` and a closed stream are errors too.
impl From<&wasmtime::Error> for Outcome {
    fn from(error: &wasmtime::Error) -> Self {
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        if let Some(closed) = error.downcast_ref::<Closed>() {
            return Outcome::Closed(*closed);
        }
        match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(0)) => Outcome::Returned(Vec::new()),
            Some(I32Exit(code)) => Outcome::Exited(*code),
            None => Outcome::Trapped {
                error: reason(error, backtrace),
                backtrace: backtrace
                    .map_or_else(Vec::new, |trace| trace.frames().iter().map(frame).collect()),
            },
        }
    }
}

/// The error's message without its backtrace, which is one of its contexts.
fn reason(error: &wasmtime::Error, backtrace: Option<&WasmBacktrace>) -> String {
    let backtrace = backtrace.map(|trace| trace.to_string());
    let causes: Vec<String> = error
        .chain()
        .map(|cause| cause.to_string())
        .filter(|cause| Some(cause) != backtrace.as_ref())
        .collect();
    causes.join(": ")
}

fn frame(frame: &FrameInfo) -> String {
    let function = match frame.func_name() {
        Some(name) => name.to_string(),
        None => format!("function {}", frame.func_index()),
    };
    let module = frame.module().name().unwrap_or("module without a name");
    match frame.module_offset() {
        Some(offset) => format!("{module}!{function} (offset {offset:#x})"),
        None => format!("{module}!{function}"),
    }
}
