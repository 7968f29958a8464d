//! The functions that a module exports, and which of them to run.

use crate::guest;
use crate::names;
use crate::values;
use wasmtime::{ExternType, FuncType, Module, Result, format_err};

/// The function that sets up a WASI library.
const INITIALIZE: &str = "_initialize";

/// The exports of a module.
pub struct Functions {
    functions: Vec<(String, FuncType)>,
    /// Exports that cannot be run, and why not.
    others: Vec<(String, &'static str)>,
}

impl Functions {
    pub fn of(module: &Module) -> Self {
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for export in module.exports() {
            let name = export.name().to_string();
            match export.ty() {
                ExternType::Func(_) if name == INITIALIZE => {
                    let what = "is called before any other function, and not by itself";
                    others.push((name, what));
                }
                ExternType::Func(ty) => functions.push((name, ty)),
                ExternType::Global(_) => others.push((name, "is a global, not a function")),
                ExternType::Table(_) => others.push((name, "is a table, not a function")),
                ExternType::Memory(_) => others.push((name, "is a memory, not a function")),
                ExternType::Tag(_) => others.push((name, "is a tag, not a function")),
            }
        }
        Functions { functions, others }
    }

    fn get(&self, name: &str) -> Option<(String, FuncType)> {
        self.functions.iter().find(|(n, _)| n == name).cloned()
    }

    /// The function to run: the named one, else `_start`, else the only one.
    pub fn choose(&self, name: Option<&str>) -> Result<(String, FuncType)> {
        match name {
            Some(name) => self.get(name).ok_or_else(|| self.unknown(name)),
            None => match (self.get("_start"), &self.functions[..]) {
                (Some(start), _) => Ok(start),
                (None, [only]) => Ok(only.clone()),
                (None, []) => Err(format_err!("it exports no function")),
                (None, _) => Err(format_err!(
                    "it is not clear which of its functions to run: {}; name one, as in FILE:EXPORT",
                    self.list()
                )),
            },
        }
    }

    fn unknown(&self, name: &str) -> wasmtime::Error {
        let shown = names::name(name);
        let what = match self.others.iter().find(|(other, _)| other == name) {
            Some((_, what)) => format!("its export `{shown}` {what}"),
            None => format!("it exports no function `{shown}`"),
        };
        let nearest = self
            .functions
            .iter()
            .map(|(function, _)| (strsim::jaro_winkler(function, name), function))
            .filter(|(similarity, _)| *similarity > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((_, function)) => format_err!(
                "{what}; did you mean `{}`? {}",
                guest::typed_export(function),
                sentence(&self.list())
            ),
            None => format_err!("{what}; {}", self.list()),
        }
    }

    fn list(&self) -> String {
        /// Some toolchains export every function of a program.
        const MOST: usize = 20;
        let shown = self.functions.iter().take(MOST);
        let shown = values::comma_separated(shown.map(|(name, ty)| values::signature(name, ty)));
        match self.functions.len() {
            0 => "it exports no function".to_string(),
            n if n > MOST => format!("it exports {shown} and {} more", n - MOST),
            _ => format!("it exports {shown}"),
        }
    }
}

/// `text` with its first letter capitalized.
pub fn sentence(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Engine;

    fn functions(wat: &str) -> Functions {
        Functions::of(&Module::new(&Engine::default(), wat).unwrap())
    }

    fn choose(wat: &str, name: Option<&str>) -> Result<String, String> {
        match functions(wat).choose(name) {
            Ok((name, _)) => Ok(name),
            Err(error) => Err(error.to_string()),
        }
    }

    const TWO: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "run"))
        (func (export "fib") (param i32) (result i32) (local.get 0)))"#;

    #[test]
    fn default_export_is_start_then_the_only_function() {
        let start = r#"(module (func (export "a")) (func (export "_start")))"#;
        assert_eq!(choose(start, None).unwrap(), "_start");
        let only = r#"(module (func (export "a")) (memory (export "m") 1))"#;
        assert_eq!(choose(only, None).unwrap(), "a");
    }

    #[test]
    fn ambiguous_default_lists_the_exports() {
        let error = choose(TWO, None).unwrap_err();
        assert!(
            error.contains("it exports run(), fib(i32) -> i32"),
            "{error}"
        );
    }

    #[test]
    fn unknown_export_suggests_the_nearest_and_lists_all() {
        let error = choose(TWO, Some("fibb")).unwrap_err();
        assert!(error.contains("did you mean `fib`?"), "{error}");
        assert!(error.contains("run(), fib(i32) -> i32"), "{error}");

        let error = choose(TWO, Some("zzz")).unwrap_err();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn export_that_is_no_function_is_named_by_its_kind() {
        let error = choose(TWO, Some("memory")).unwrap_err();
        assert!(
            error.contains("`memory` is a memory, not a function"),
            "{error}"
        );
    }

    #[test]
    fn initialization_is_no_function_to_run() {
        let library = r#"(module (func (export "_initialize")) (func (export "a")))"#;
        assert_eq!(choose(library, None).unwrap(), "a");
        let error = choose(library, Some("_initializ")).unwrap_err();
        assert!(error.ends_with("it exports a()"), "{error}");
        let error = choose(library, Some("_initialize")).unwrap_err();
        assert!(error.contains("called before any other"), "{error}");
    }

    #[test]
    fn suggestions_can_be_typed_and_act_on_no_terminal() {
        let wat = r#"(module (func (export "min(int)")) (func (export "\1b[2J\n")))"#;
        let error = choose(wat, Some("min(in)")).unwrap_err();
        assert!(error.contains(r"did you mean `min\(int)`?"), "{error}");
        assert!(error.contains(r"min\(int)(), \u{1b}[2J\n()"), "{error}");
    }

    #[test]
    fn module_without_functions_says_so() {
        let error = choose("(module)", None).unwrap_err();
        assert!(error.contains("it exports no function"), "{error}");
    }

    #[test]
    fn long_lists_of_exports_are_cut() {
        let exports: String = (0..50)
            .map(|i| format!(r#"(func (export "f{i}"))"#))
            .collect();
        let error = choose(&format!("(module {exports})"), None).unwrap_err();
        assert!(error.contains("and 30 more"), "{error}");
    }
}
