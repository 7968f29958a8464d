//! What a GUEST on the command line means: `FILE[:EXPORT][(ARG,...)]`.

use crate::names;
use std::path::PathBuf;
use wasmtime::{Result, bail};

/// A guest as written on the command line, not checked yet.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestSpec {
    /// The whole text, as given.
    pub text: String,
    pub file: PathBuf,
    /// `None` to let the file choose.
    pub export: Option<String>,
    /// `None` without parentheses; `()` explicitly gives no arguments.
    pub args: Option<Vec<String>>,
    /// What is in the parentheses, for components, whose values have a syntax of their own.
    pub written: Option<String>,
}

impl GuestSpec {
    /// Parses `text`. `exists` tells whether a path exists, since a file may have `:` and
    /// `(` in its name.
    pub fn parse(text: &str, exists: impl Fn(&str) -> bool) -> Result<GuestSpec> {
        let (file, rest) = text.split_at(file_len(text, exists));
        if file.is_empty() {
            let text = names::name(text);
            bail!("guest `{text}` names no file; write FILE[:EXPORT][(ARG,...)]");
        }
        let (export, args) = match rest.strip_prefix(':') {
            Some(rest) => {
                let (export, args) = parse_export(text, rest)?;
                if export.is_empty() {
                    let (text, file) = (names::name(text), names::name(file));
                    bail!(
                        "guest `{text}` has no export name after `{file}:`; \
                         write `{file}:EXPORT`, or `{file}` for the default export"
                    );
                }
                (Some(export), args)
            }
            None => (None, rest),
        };
        Ok(GuestSpec {
            text: text.to_string(),
            file: file.into(),
            export,
            written: within(text, args)?.map(str::to_string),
            args: parse_args(text, args)?,
        })
    }
}

/// The file that a guest names.
pub fn file(text: &str, exists: impl Fn(&str) -> bool) -> &str {
    &text[..file_len(text, exists)]
}

/// Whether a file of this name holds a module or a component.
pub fn is_module(file: &str) -> bool {
    [".wat", ".wasm", ".cwasm"]
        .iter()
        .any(|extension| file.ends_with(extension))
}

/// `export` as a user must type it.
pub fn typed_export(export: &str) -> String {
    let mut typed = String::new();
    for c in export.chars() {
        if matches!(c, '(' | '\\') {
            typed.push('\\');
        }
        typed.push(c);
    }
    names::name(&typed)
}

/// Splits `EXPORT` off. A backslash takes the character after it literally.
fn parse_export<'a>(guest: &str, text: &'a str) -> Result<(String, &'a str)> {
    let mut export = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '(' => return Ok((export, &text[at..])),
            '\\' => match chars.next() {
                Some((_, c)) => export.push(c),
                None => bail!(
                    "guest `{}` ends with a `\\`, which escapes the next character; \
                     write `\\\\` for a backslash",
                    names::name(guest)
                ),
            },
            c => export.push(c),
        }
    }
    Ok((export, ""))
}

/// How much of `text` is the file: the longest existing path that ends before a `:`, a `(`
/// or at the end. If none exists, the part up to its extension, so that the error names
/// the intended file.
fn file_len(text: &str, exists: impl Fn(&str) -> bool) -> usize {
    let ends = || {
        text.match_indices([':', '('])
            .map(|(at, _)| at)
            .chain([text.len()])
    };
    let is_module = |end: &usize| is_module(&text[..*end]);
    ends()
        .rev()
        .find(|end| exists(&text[..*end]))
        .or_else(|| ends().find(is_module))
        .or_else(|| ends().next())
        .unwrap_or(text.len())
}

/// What is in the parentheses, if there are any.
fn within<'a>(guest: &str, text: &'a str) -> Result<Option<&'a str>> {
    if text.is_empty() {
        return Ok(None);
    }
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    inner.map(Some).ok_or_else(|| not_closed(guest))
}

fn not_closed(guest: &str) -> wasmtime::Error {
    wasmtime::format_err!(
        "the arguments of guest `{}` are not closed; \
         write them as `(ARG,...)`, with `\\` before a `,`, `)` or `\\` within one",
        names::name(guest)
    )
}

/// Parses `(ARG,...)`. A backslash takes the character after it literally, and spaces
/// around an argument are dropped.
fn parse_args(guest: &str, text: &str) -> Result<Option<Vec<String>>> {
    let Some(inner) = within(guest, text)? else {
        return Ok(None);
    };
    if inner.trim().is_empty() {
        return Ok(Some(Vec::new()));
    }

    let mut args = Vec::new();
    let mut arg = String::new();
    // How much of `arg` the trimming must leave.
    let mut kept = 0;
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                arg.push(chars.next().ok_or_else(|| not_closed(guest))?);
                kept = arg.len();
            }
            ',' => {
                arg.truncate(kept);
                kept = 0;
                args.push(std::mem::take(&mut arg));
            }
            c if c.is_whitespace() && arg.is_empty() => {}
            c => {
                arg.push(c);
                if !c.is_whitespace() {
                    kept = arg.len();
                }
            }
        }
    }
    arg.truncate(kept);
    args.push(arg);
    Ok(Some(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> GuestSpec {
        GuestSpec::parse(text, |_| false).unwrap()
    }

    fn error(text: &str) -> String {
        GuestSpec::parse(text, |_| false).unwrap_err().to_string()
    }

    fn args(text: &str) -> Vec<String> {
        parse(&format!("f.wasm{text}")).args.unwrap()
    }

    #[test]
    fn file_alone_leaves_export_and_arguments_open() {
        let spec = parse("dir/primes.wasm");
        assert_eq!(spec.file, PathBuf::from("dir/primes.wasm"));
        assert_eq!((spec.export, spec.args), (None, None));
    }

    #[test]
    fn export_and_arguments_are_split_off() {
        let spec = parse("fib.wat:fib(30, -1)");
        assert_eq!(spec.text, "fib.wat:fib(30, -1)");
        assert_eq!(spec.file, PathBuf::from("fib.wat"));
        assert_eq!(spec.export.as_deref(), Some("fib"));
        assert_eq!(spec.args.unwrap(), ["30", "-1"]);
    }

    #[test]
    fn arguments_need_no_export() {
        let spec = parse("primes.wasm(1000,a)");
        assert_eq!(spec.file, PathBuf::from("primes.wasm"));
        assert_eq!(spec.export, None);
        assert_eq!(spec.args.unwrap(), ["1000", "a"]);
    }

    #[test]
    fn export_may_contain_colons() {
        let spec = parse("a.wasm:wasi:cli/run@0.2.0#run");
        assert_eq!(spec.file, PathBuf::from("a.wasm"));
        assert_eq!(spec.export.as_deref(), Some("wasi:cli/run@0.2.0#run"));
    }

    #[test]
    fn backslash_keeps_parentheses_in_an_export() {
        let spec = parse(r"a.wasm:std::min\(int\, int)(1, 2)");
        assert_eq!(spec.export.as_deref(), Some("std::min(int, int)"));
        assert_eq!(spec.args.unwrap(), ["1", "2"]);
        for export in ["f(int)", r"a\b", r"\(", "plain", "a:b"] {
            let spec = parse(&format!("a.wasm:{}", typed_export(export)));
            assert_eq!(spec.export.as_deref(), Some(export));
            assert_eq!(spec.args, None);
        }
        assert!(error(r"a.wasm:f\").contains("ends with a `\\`"));
    }

    #[test]
    fn longest_existing_file_wins() {
        let exists = |path: &str| path == "odd:name" || path == "odd";
        let spec = GuestSpec::parse("odd:name:run(1)", exists).unwrap();
        assert_eq!(spec.file, PathBuf::from("odd:name"));
        assert_eq!(spec.export.as_deref(), Some("run"));
    }

    #[test]
    fn missing_file_is_cut_at_its_extension() {
        assert_eq!(
            parse("C:/x (1).wat:run").file,
            PathBuf::from("C:/x (1).wat")
        );
        assert_eq!(parse("binary:run").file, PathBuf::from("binary"));
    }

    #[test]
    fn empty_parentheses_are_no_arguments_and_commas_make_empty_ones() {
        assert_eq!(args("()"), [""; 0]);
        assert_eq!(args("( )"), [""; 0]);
        assert_eq!(args("(,)"), ["", ""]);
        assert_eq!(args("(a,)"), ["a", ""]);
    }

    #[test]
    fn space_around_arguments_is_dropped_unless_escaped() {
        assert_eq!(args("( a b ,\tc )"), ["a b", "c"]);
        assert_eq!(args(r"(\ a\ )"), [" a "]);
    }

    #[test]
    fn backslash_keeps_commas_parentheses_and_itself() {
        assert_eq!(args(r"(a\,b,c\)d,\\)"), ["a,b", "c)d", r"\"]);
        assert_eq!(args("(print(1))"), ["print(1)"]);
    }

    #[test]
    fn unclosed_arguments_are_an_error() {
        for text in ["f.wat:f(1", "f.wat(", "f.wat:f(1)x", r"f.wat:f(1\)"] {
            let error = error(text);
            assert!(error.contains(text), "{error}");
            assert!(error.contains("not closed"), "{error}");
        }
    }

    #[test]
    fn empty_names_are_errors() {
        assert!(error("").contains("names no file"));
        assert!(error(":run").contains("names no file"));
        assert!(error("f.wat:").contains("no export name"));
        assert!(error("f.wat:(1)").contains("no export name"));
    }
}
