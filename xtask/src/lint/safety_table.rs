//! The table of docs/safety.md names every piece of unsafe code of the runtime, with the rule
//! that makes it sound.
//!
//! A row begins with a file, relative to the folder, and the functions and types in it that
//! the row is about: `function`, `Type::function`, or `Type` for all that is in an `impl` of
//! that type. A row without names covers the whole file. Tests are not looked at, and rows
//! about patches only have their rules checked.

use super::sources::{find, is_for_tests, parse};
use crate::root::Root;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, ExprUnsafe, ImplItemFn, ItemFn, ItemImpl, ItemMacro, ItemMod, ItemTrait, Macro,
    Signature, Token, TraitItemFn, Type,
};

const DOCUMENT: &str = "docs/safety.md";
const HEADING: &str = "## Every unsafe block";
const FOLDER: &str = "overlay/crates/wasmtime/src/runtime/preempt";
/// The folder that it is in. Other files there are named relative to this one.
const RUNTIME: &str = "overlay/crates/wasmtime/src/runtime";

/// # Errors
///
/// If the table and the code do not agree: everything that is wrong is named.
pub fn check(root: &Root) -> Result<()> {
    let text = fs::read_to_string(root.path.join(DOCUMENT)).context(DOCUMENT)?;
    let wrong = Table::of(&text)?.wrong(&unsafe_code(root)?);
    if !wrong.is_empty() {
        bail!(
            "the table \"{HEADING}\" of {DOCUMENT} is wrong:\n{}",
            wrong.join("\n")
        );
    }
    Ok(())
}

/// The places of each file. A file without any is listed too.
type Code = BTreeMap<String, BTreeSet<Place>>;

fn unsafe_code(root: &Root) -> Result<Code> {
    let (folder, runtime) = (root.path.join(FOLDER), root.path.join(RUNTIME));
    let mut files = Vec::new();
    find(&runtime, &mut files)?;
    let mut code = Code::new();
    for file in files {
        let name = match file.strip_prefix(&folder) {
            Ok(name) => name,
            Err(_) => file.strip_prefix(&runtime)?,
        };
        let name = name.to_string_lossy().replace('\\', "/");
        code.insert(name, Places::of(&parse(&file)?));
    }
    Ok(code)
}

/// Where unsafe code is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The type that the `impl` around it is for, and the trait, if it is in one.
    types: Vec<String>,
    /// The innermost function, or the macro that makes it.
    function: Option<String>,
}

impl Place {
    fn is_named(&self, name: &str) -> bool {
        let is_type = |name: &str| self.types.iter().any(|ty| ty == name);
        let is_function = |name: &str| self.function.as_deref() == Some(name);
        match name.rsplit_once("::") {
            Some((ty, function)) => is_type(ty) && is_function(function),
            None => is_type(name) || is_function(name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.types.first(), &self.function) {
            (Some(ty), Some(function)) => write!(f, "`{ty}::{function}`"),
            (Some(name), None) | (None, Some(name)) => write!(f, "`{name}`"),
            (None, None) => f.write_str("code outside of functions"),
        }
    }
}

/// Finds the places of a file.
#[derive(Default)]
struct Places {
    here: Place,
    found: BTreeSet<Place>,
}

impl Places {
    fn of(file: &syn::File) -> BTreeSet<Place> {
        let mut places = Places::default();
        places.visit_file(file);
        places.found
    }

    fn add(&mut self) {
        self.found.insert(self.here.clone());
    }

    fn within(&mut self, here: Place, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.here, here);
        visit(self);
        self.here = outer;
    }

    fn in_function(&mut self, name: &dyn ToString, visit: impl FnOnce(&mut Self)) {
        let here = Place {
            types: self.here.types.clone(),
            function: Some(name.to_string()),
        };
        self.within(here, visit);
    }
}

impl<'ast> Visit<'ast> for Places {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let of_trait = item.trait_.as_ref().map(|(_, path, _)| path);
        let here = Place {
            types: [last_name(&item.self_ty), of_trait.and_then(last_part)]
                .into_iter()
                .flatten()
                .collect(),
            function: None,
        };
        self.within(here, |places| {
            if item.unsafety.is_some() {
                places.add();
            }
            visit::visit_item_impl(places, item);
        });
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        let here = Place {
            types: vec![item.ident.to_string()],
            function: None,
        };
        self.within(here, |places| visit::visit_item_trait(places, item));
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.in_function(&item.sig.ident, |places| visit::visit_item_fn(places, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.in_function(&item.sig.ident, |places| {
            visit::visit_impl_item_fn(places, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.in_function(&item.sig.ident, |places| {
            visit::visit_trait_item_fn(places, item);
        });
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        match &item.ident {
            Some(name) => self.in_function(name, |places| visit::visit_item_macro(places, item)),
            None => visit::visit_item_macro(self, item),
        }
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        if signature.unsafety.is_some() {
            self.add();
        }
        visit::visit_signature(self, signature);
    }

    // As on a naked function.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("unsafe") {
            self.add();
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.add();
        visit::visit_expr_unsafe(self, block);
    }

    // What a macro takes need not be Rust, so it is not parsed.
    fn visit_macro(&mut self, call: &'ast Macro) {
        let arguments = Punctuated::<syn::Expr, Token![,]>::parse_terminated;
        match call.parse_body_with(arguments) {
            Ok(arguments) => arguments.iter().for_each(|expr| self.visit_expr(expr)),
            Err(_) if has_unsafe(&call.tokens.to_string()) => self.add(),
            Err(_) => {}
        }
    }
}

fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => last_part(&path.path),
        _ => None,
    }
}

fn last_part(path: &syn::Path) -> Option<String> {
    Some(path.segments.last()?.ident.to_string())
}

fn has_unsafe(tokens: &str) -> bool {
    tokens
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == "unsafe")
}

struct Table<'a> {
    rows: Vec<Row<'a>>,
    /// The rules that have a heading.
    rules: BTreeSet<&'a str>,
}

struct Row<'a> {
    entries: Vec<Entry<'a>>,
    rules: Vec<&'a str>,
}

struct Entry<'a> {
    file: &'a str,
    names: Vec<&'a str>,
}

impl Table<'_> {
    fn of(text: &str) -> Result<Table<'_>> {
        let rules = text
            .lines()
            .filter_map(|line| Some(line.strip_prefix("### ")?.split_once(':')?.0))
            .collect();
        let mut rows = Vec::new();
        let lines = text.lines().skip_while(|line| *line != HEADING).skip(1);
        let lines = lines.take_while(|line| !line.starts_with("## "));
        // After the names of the columns and the line below them.
        for line in lines.filter(|line| line.starts_with('|')).skip(2) {
            rows.push(Row::of(line).with_context(|| {
                format!("{DOCUMENT}: not a row of | file | what | rule |: {line}")
            })?);
        }
        if rows.is_empty() {
            bail!("{DOCUMENT} has no table below \"{HEADING}\"");
        }
        Ok(Table { rows, rules })
    }

    /// What is wrong, a line each.
    fn wrong(&self, code: &Code) -> Vec<String> {
        let mut wrong = Vec::new();
        for rule in self.rows.iter().flat_map(|row| &row.rules) {
            if !self.rules.contains(rule) {
                wrong.push(format!(
                    "a row names the rule {rule}, but there is no heading \"### {rule}:\"; correct \
                     the row, or write the rule"
                ));
            }
        }
        let none = BTreeSet::new();
        for entry in self.entries() {
            wrong.extend(entry.stale(code.get(entry.file).unwrap_or(&none)));
        }
        for (file, places) in code {
            let entries: Vec<&Entry> = self.entries().filter(|entry| entry.file == file).collect();
            for place in places {
                if !entries.iter().any(|entry| entry.covers(place)) {
                    wrong.push(format!(
                        "{file}: {place} has unsafe code, but no row names it; add it to the row \
                         with the rule that its SAFETY comment cites, or add a row"
                    ));
                }
            }
        }
        wrong
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<'_>> {
        self.rows.iter().flat_map(|row| &row.entries)
    }
}

impl Row<'_> {
    fn of(line: &str) -> Option<Row<'_>> {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", place, _, rules, ""] = cells[..] else {
            return None;
        };
        let mut entries: Vec<Entry> = Vec::new();
        if !place.starts_with("patch ") {
            for name in place.split('`').skip(1).step_by(2) {
                if Path::new(name).extension().is_some_and(|ext| ext == "rs") {
                    let names = Vec::new();
                    entries.push(Entry { file: name, names });
                } else {
                    entries.last_mut()?.names.push(name);
                }
            }
            if entries.is_empty() {
                return None;
            }
        }
        let rules = rules.split(',').map(str::trim);
        let rules = rules.filter(|rule| !rule.is_empty()).collect();
        Some(Row { entries, rules })
    }
}

impl Entry<'_> {
    fn covers(&self, place: &Place) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| place.is_named(name))
    }

    /// What the entry says of `places`, the unsafe code of its file, that is not so.
    fn stale(&self, places: &BTreeSet<Place>) -> Vec<String> {
        let file = self.file;
        if places.is_empty() {
            return vec![format!(
                "a row names {file}, but there is no such file in {FOLDER}, or nothing unsafe in \
                 it; correct the name, or remove it from the row"
            )];
        }
        let is_stale = |name: &&&str| !places.iter().any(|place| place.is_named(name));
        let stale = self.names.iter().filter(is_stale);
        let say = |name| {
            format!(
                "a row names `{name}` of {file}, but the file has no unsafe code there; correct \
                 the name, or remove it from the row"
            )
        };
        stale.map(say).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let places = Places::of(&syn::parse_str(text).unwrap());
        places.iter().map(ToString::to_string).collect()
    }

    /// What is wrong with a table of these rows, if `a.rs` has the given text, and `b.rs`
    /// has nothing unsafe.
    fn wrong(rows: &[&str], text: &str) -> Vec<String> {
        let table = format!(
            "### I1: a rule\n\n{HEADING}\n\n| file | what | rule |\n|---|---|---|\n{}\n\n## Next\n",
            rows.join("\n")
        );
        let code = [("a.rs", text), ("b.rs", "fn f() {}")].map(|(file, text)| {
            let places = Places::of(&syn::parse_str(text).unwrap());
            (file.to_string(), places)
        });
        Table::of(&table).unwrap().wrong(&code.into())
    }

    const TEXT: &str = "
        unsafe fn f() {}
        struct S;
        unsafe impl Send for S {}
        impl S {
            fn g(&self) { unsafe { f() } }
            fn safe(&self) {}
        }";

    #[test]
    fn the_table_of_this_repository_is_right() {
        check(&Root::of_this_xtask().unwrap()).unwrap();
    }

    #[test]
    fn unsafe_code_is_found_wherever_it_is() {
        for (text, place) in [
            ("fn f() { let g = || unsafe { h() }; }", "`f`"),
            ("fn f() { fn inner() { unsafe { h() } } }", "`inner`"),
            ("fn f() { assert!(unsafe { h() } == 1); }", "`f`"),
            ("fn f() { select!(unsafe { h() } => {}); }", "`f`"),
            ("unsafe fn f() {}", "`f`"),
            ("#[unsafe(naked)] extern \"C\" fn f() {}", "`f`"),
            ("trait T { unsafe fn f(); }", "`T::f`"),
            ("impl<X> T for a::S<X> { unsafe fn f() {} }", "`S::f`"),
            ("unsafe impl Send for S {}", "`S`"),
            (
                "macro_rules! m { () => { unsafe extern \"C\" fn f() {} }; }",
                "`m`",
            ),
            ("const C: u8 = unsafe { h() };", "code outside of functions"),
        ] {
            assert_eq!(places(text), [place], "{text}");
        }
    }

    #[test]
    fn neither_tests_nor_types_of_functions_are_unsafe_code() {
        for text in [
            "#[cfg(test)] mod tests { fn f() { unsafe { h() } } }",
            "#![deny(clippy::undocumented_unsafe_blocks)]",
            "type F = unsafe extern \"C\" fn();",
        ] {
            assert_eq!(places(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_row_covers_what_it_names() {
        for rows in [
            &["| `a.rs` | all of it | I1 |"][..],
            &["| `a.rs` `f`, `S` | a function and a type | I1 |"],
            &["| `a.rs` `S` | a type | I1 |", "| `a.rs` `f` | x | |"],
            &["| patch to `c.rs` `h` | x | I1 |", "| `a.rs` | x | |"],
        ] {
            assert_eq!(wrong(rows, TEXT), [""; 0], "{rows:?}");
        }
    }

    #[test]
    fn what_no_row_names_is_an_error() {
        for (row, missing) in [
            (
                "| patch to `a.rs` | x | I1 |",
                &["`f`", "`S`", "`S::g`"][..],
            ),
            ("| `a.rs` `S` | x | I1 |", &["`f`"]),
            ("| `a.rs` `f`, `S::g` | x | I1 |", &["`S`"]),
        ] {
            let wrong = wrong(&[row], TEXT);
            assert_eq!(wrong.len(), missing.len(), "{wrong:?}");
            for missing in missing {
                let start = format!("a.rs: {missing} has unsafe code");
                assert!(wrong.iter().any(|w| w.starts_with(&start)), "{wrong:?}");
            }
        }
    }

    #[test]
    fn what_a_row_names_in_vain_is_an_error() {
        let whole = "| `a.rs` | x | I1 |";
        for (row, about) in [
            ("| `c.rs` | x | I1 |", "c.rs"),
            ("| `b.rs` `f` | x | I1 |", "b.rs"),
            ("| `a.rs` `h` | x | I1 |", "`h` of a.rs"),
            ("| `a.rs` `S::safe` | x | I1 |", "`S::safe` of a.rs"),
            ("| `a.rs` | x | I1, I2 |", "the rule I2"),
            ("| patch to `c.rs` | x | I3 |", "the rule I3"),
        ] {
            let wrong = wrong(&[whole, row], TEXT);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(
                wrong[0].starts_with(&format!("a row names {about}")),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_table_that_cannot_be_read_is_an_error() {
        let head = format!("{HEADING}\n| file | what | rule |\n|---|---|---|\n");
        assert!(Table::of("# No table\n").is_err());
        assert!(Table::of(&head).is_err());
        for row in ["| `a.rs` | x |", "| `f` | x | I1 |", "| a file | x | I1 |"] {
            assert!(Table::of(&format!("{head}{row}\n")).is_err(), "{row}");
        }
    }
}
