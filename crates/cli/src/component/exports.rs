//! The functions that a component exports, and which of them to run.
//!
//! A function of an exported interface has the name that `wasmtime run --invoke` has for it:
//! `pkg:ns/iface.func@1.0.0`. The version and the interface may be left out if there is only one
//! such function.

use super::wave;
use crate::exports::sentence;
use crate::guest;
use crate::names;
use crate::values::comma_separated;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Func, Instance};
use wasmtime::{AsContextMut, Engine, Result, bail, format_err};

/// The interface of a command, which has the function `run`.
const COMMAND: &str = "wasi:cli/run";

/// The versions of WASI whose commands can be run.
const VERSION: &str = "0.2.";

/// A function that a component exports.
#[derive(Clone, Debug)]
pub struct Function {
    /// The interface that it is in; `None` for one of the component itself.
    interface: Option<String>,
    name: String,
    ty: ComponentFunc,
}

impl Function {
    /// Its name, as a user must type it.
    pub fn typed(&self) -> String {
        guest::typed_export(&self.full_name())
    }

    fn full_name(&self) -> String {
        match self.interface.as_deref().map(split_version) {
            None => self.name.clone(),
            Some((interface, None)) => format!("{interface}.{}", self.name),
            Some((interface, Some(version))) => format!("{interface}.{}@{version}", self.name),
        }
    }

    /// Whether `given` means this function.
    fn is_named(&self, given: &str) -> bool {
        let bare = self.interface.as_deref().map(|interface| {
            let (interface, _) = split_version(interface);
            format!("{interface}.{}", self.name)
        });
        given == self.name || given == self.full_name() || bare.as_deref() == Some(given)
    }

    /// Whether it is `run` of `wasi:cli/run`, in a version that can be run.
    pub fn is_command(&self) -> bool {
        let interface = self.interface.as_deref().map(split_version);
        self.name == "run"
            && interface.is_some_and(|(interface, version)| {
                interface == COMMAND && version.is_some_and(|v| v.starts_with(VERSION))
            })
    }

    pub fn ty(&self) -> &ComponentFunc {
        &self.ty
    }

    /// `name(a: s32, b: string) -> bool`, with the name written as a user must type it.
    pub fn signature(&self) -> String {
        let params = self
            .ty
            .params()
            .map(|(name, ty)| format!("{}: {}", names::name(name), wave::type_name(&ty)));
        let mut text = format!("{}({})", self.typed(), comma_separated(params));
        for result in self.ty.results() {
            text += &format!(" -> {}", wave::type_name(&result));
        }
        text
    }

    /// The function in an instance of its component.
    ///
    /// # Errors
    ///
    /// If the instance is of another component.
    pub fn of(&self, mut store: impl AsContextMut, instance: Instance) -> Result<Func> {
        let mut store = store.as_context_mut();
        let missing = || format_err!("it has no export `{}`", self.full_name());
        let interface = match &self.interface {
            Some(interface) => {
                let index = instance.get_export_index(&mut store, None, interface);
                Some(index.ok_or_else(missing)?)
            }
            None => None,
        };
        let index = instance.get_export_index(&mut store, interface.as_ref(), &self.name);
        let function = instance.get_func(&mut store, index.ok_or_else(missing)?);
        function.ok_or_else(missing)
    }
}

/// `a:b/c@1.0.0` as `a:b/c` and `1.0.0`.
fn split_version(interface: &str) -> (&str, Option<&str>) {
    match interface.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (interface, None),
    }
}

/// The exports of a component.
pub struct Functions {
    functions: Vec<Function>,
    interfaces: Vec<String>,
}

impl Functions {
    pub fn of(engine: &Engine, component: &Component) -> Functions {
        let (mut functions, mut interfaces) = (Vec::new(), Vec::new());
        for (export, item) in component.component_type().exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(ty) => functions.push(Function {
                    interface: None,
                    name: export.to_string(),
                    ty,
                }),
                ComponentItem::ComponentInstance(instance) => {
                    interfaces.push(export.to_string());
                    for (name, item) in instance.exports(engine) {
                        // Those of resources are not for the command line.
                        if let ComponentItem::ComponentFunc(ty) = item.ty
                            && !name.starts_with('[')
                        {
                            functions.push(Function {
                                interface: Some(export.to_string()),
                                name: name.to_string(),
                                ty,
                            });
                        }
                    }
                }
                _ => {}
            }
        }
        Functions {
            functions,
            interfaces,
        }
    }

    /// The function to run: the named one, else that of a command, else the only one.
    ///
    /// # Errors
    ///
    /// If there is no such function, or it is not clear which. `file` is the component's file.
    pub fn choose(&self, name: Option<&str>, file: &str) -> Result<Function> {
        let function = match name {
            Some(name) => self.named(name),
            None => self.default(file),
        };
        function.cloned()
    }

    fn named(&self, name: &str) -> Result<&Function> {
        let exact = self.functions.iter().find(|f| f.full_name() == name);
        let mut named = self.functions.iter().filter(|f| f.is_named(name));
        match (exact, named.next(), named.next()) {
            (Some(function), ..) | (None, Some(function), None) => Ok(function),
            (None, Some(first), Some(second)) => bail!(
                "it exports more than one function `{}`; write `{}` or `{}`",
                names::name(name),
                first.typed(),
                second.typed()
            ),
            (None, None, _) => Err(self.unknown(name)),
        }
    }

    fn default(&self, file: &str) -> Result<&Function> {
        if let Some(command) = self.functions.iter().find(|f| f.is_command()) {
            return Ok(command);
        }
        let exports = |interface: &str| {
            let mut all = self.interfaces.iter();
            all.find(|export| split_version(export).0 == interface)
        };
        if let Some(command) = exports(COMMAND) {
            bail!(
                "it exports `{}`, and this command runs `{COMMAND}@{VERSION}x`; \
                 `wasmtime run {file}` may run it",
                names::name(command)
            );
        }
        let handlers = [
            ("wasi:http/incoming-handler", "preempt"),
            ("wasi:http/handler", "wasmtime"),
        ];
        for (handler, command) in handlers {
            if let Some(handler) = exports(handler) {
                bail!(
                    "it exports `{}`, which answers requests; use `{command} serve {file}`",
                    names::name(handler)
                );
            }
        }
        match &self.functions[..] {
            [only] => Ok(only),
            [] => bail!("it exports no function"),
            _ => bail!(
                "it is not clear which of its functions to run: {}; name one, as in \
                 FILE:EXPORT(ARG,...)",
                self.list()
            ),
        }
    }

    fn unknown(&self, name: &str) -> wasmtime::Error {
        let shown = names::name(name);
        let what = match self.interfaces.iter().any(|interface| interface == name) {
            true => format!("its export `{shown}` is an interface, not a function"),
            false => format!("it exports no function `{shown}`"),
        };
        let similar = |function: &Function| {
            let full = function.full_name();
            let of = |export: &str| strsim::jaro_winkler(export, name);
            of(&full).max(of(&function.name))
        };
        let nearest = self
            .functions
            .iter()
            .map(|function| (similar(function), function))
            .filter(|(similarity, _)| *similarity > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((_, function)) => {
                format_err!(
                    "{what}; did you mean `{}`? {}",
                    function.typed(),
                    sentence(&self.list())
                )
            }
            None => format_err!("{what}; {}", self.list()),
        }
    }

    fn list(&self) -> String {
        const MOST: usize = 20;
        let shown = self.functions.iter().take(MOST).map(Function::signature);
        let shown = comma_separated(shown);
        match self.functions.len() {
            0 => "it exports no function".to_string(),
            n if n > MOST => format!("it exports {shown} and {} more", n - MOST),
            _ => format!("it exports {shown}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFTED: &str = r#"(core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))"#;

    fn choose(exports: &str, name: Option<&str>) -> Result<String, String> {
        let engine = Engine::default();
        let wat = format!("(component {LIFTED} {exports})");
        let component = Component::new(&engine, wat).unwrap();
        let chosen = Functions::of(&engine, &component).choose(name, "a.wasm");
        let chosen = chosen.map(|function| function.full_name());
        chosen.map_err(|error| error.to_string())
    }

    fn interface(name: &str, function: &str) -> String {
        format!(
            r#"(instance $x{} (export "{function}" (func $f)))
            (export "{name}" (instance $x{}))"#,
            name.len(),
            name.len()
        )
    }

    #[test]
    fn command_runs_by_default_and_then_the_only_function() {
        let run = interface("wasi:cli/run@0.2.3", "run") + r#"(export "f" (func $f))"#;
        assert_eq!(choose(&run, None).unwrap(), "wasi:cli/run.run@0.2.3");
        assert_eq!(choose(&run, Some("f")).unwrap(), "f");
        assert_eq!(choose(r#"(export "f" (func $f))"#, None).unwrap(), "f");
        let two = r#"(export "f" (func $f)) (export "g" (func $f))"#;
        let error = choose(two, None).unwrap_err();
        assert!(error.contains("f() -> u32, g() -> u32"), "{error}");
    }

    #[test]
    fn function_of_an_interface_may_be_named_in_short() {
        let one = interface("a:b/c@1.0.0", "go");
        for name in ["a:b/c.go@1.0.0", "a:b/c.go", "go"] {
            assert_eq!(choose(&one, Some(name)).unwrap(), "a:b/c.go@1.0.0");
        }
        let two = one + &interface("a:b/cc@1.0.0", "go");
        let error = choose(&two, Some("go")).unwrap_err();
        assert!(
            error.contains("`a:b/c.go@1.0.0` or `a:b/cc.go@1.0.0`"),
            "{error}"
        );
        let with_own = two + r#"(export "go" (func $f))"#;
        assert_eq!(choose(&with_own, Some("go")).unwrap(), "go");
        let error = choose(&with_own, Some("a:b/c@1.0.0")).unwrap_err();
        assert!(error.contains("is an interface, not a function"), "{error}");
    }

    #[test]
    fn other_worlds_are_told_what_runs_them() {
        let run = interface("wasi:cli/run@0.3.0", "run");
        let error = choose(&run, None).unwrap_err();
        assert!(error.contains("`wasmtime run a.wasm`"), "{error}");
        for (handler, command) in [
            ("wasi:http/incoming-handler@0.2.3", "`preempt serve a.wasm`"),
            ("wasi:http/handler@0.3.0", "`wasmtime serve a.wasm`"),
        ] {
            let error = choose(&interface(handler, "handle"), None).unwrap_err();
            assert!(error.contains(command), "{error}");
        }
        assert!(
            choose("", None)
                .unwrap_err()
                .contains("exports no function")
        );
    }
}
