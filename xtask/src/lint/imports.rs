//! Files must not import each other in a circle: a reader could not understand one of them
//! before the others.
//!
//! What counts is each path in a file's code that leads into another file of the same crate,
//! in a `use` or elsewhere. Declaring a module is no import, and tests are not looked at.

use super::sources::{find, is_for_tests, parse};
use crate::root::Root;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};
use syn::{ItemMod, ItemUse, UseTree};

/// The folders whose files are looked at, and the path of the module that they are in.
const FOLDERS: &[(&str, &[&str])] = &[
    ("overlay/crates/wasmtime/src/runtime", &["crate", "runtime"]),
    ("crates/cli/src", &["crate"]),
    ("crates/fuzzing/src", &["crate"]),
    ("crates/policies/src", &["crate"]),
    ("crates/stacks/src", &["crate"]),
    ("crates/trace/src", &["crate"]),
    ("crates/wasi/src", &["crate"]),
    ("crates/wasi-threads/src", &["crate"]),
    ("benches/src", &["crate"]),
    ("xtask/src", &["crate"]),
];

/// Names by which a module is known elsewhere.
const ALIASES: &[(&[&str], &[&str])] = &[
    (&["crate", "preempt"], &["crate", "runtime", "preempt"]),
    // One of several, which import the same.
    (
        &["crate", "runtime", "preempt", "source", "signal", "arch"],
        &["crate", "runtime", "preempt", "source", "signal", "x86_64"],
    ),
];

type Module = Vec<String>;

/// # Errors
///
/// If there is a circle: it is named.
pub fn check(root: &Root) -> Result<()> {
    for (folder, base) in FOLDERS {
        let imports = Imports::of(&root.path.join(folder), base)?;
        if let Some(circle) = imports.circle() {
            let names = circle.iter().map(|module| module.join("::"));
            bail!(
                "files of {folder} import each other in a circle: {}; move what they share to a \
                 file of its own",
                names.collect::<Vec<_>>().join(" -> ")
            );
        }
    }
    Ok(())
}

/// Which modules, of a file each, import which.
struct Imports(BTreeMap<Module, BTreeSet<Module>>);

impl Imports {
    fn of(folder: &Path, base: &[&str]) -> Result<Imports> {
        let mut files = Vec::new();
        find(folder, &mut files)?;
        let base: Module = base.iter().map(ToString::to_string).collect();
        let mut modules = BTreeMap::new();
        for file in files {
            let path = file.strip_prefix(folder)?.with_extension("");
            let mut module = base.clone();
            module.extend(path.iter().map(|part| part.to_string_lossy().into_owned()));
            if module
                .last()
                .is_some_and(|last| last == "lib" || last == "mod")
            {
                module.pop();
            }
            modules.insert(module, file);
        }
        let mut imports = BTreeMap::new();
        for (module, file) in &modules {
            let mut paths = Paths {
                module,
                found: Vec::new(),
            };
            paths.visit_file(&parse(file)?);
            let targets = paths.found.into_iter().filter_map(|path| {
                let known = |len: &usize| modules.contains_key(&path[..*len]);
                let len = (1..=path.len()).rev().find(known)?;
                Some(path[..len].to_vec())
            });
            let others = targets.filter(|target| target != module).collect();
            imports.insert(module.clone(), others);
        }
        Ok(Imports(imports))
    }

    /// The shortest circle of those through the first module that is in one.
    fn circle(&self) -> Option<Vec<Module>> {
        self.0.keys().find_map(|start| self.way_back_to(start))
    }

    /// By breadth-first search.
    fn way_back_to(&self, start: &Module) -> Option<Vec<Module>> {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(way) = ways.get(next).cloned() {
            next += 1;
            for target in self.0.get(way.last()?).into_iter().flatten() {
                let mut longer = way.clone();
                longer.push(target.clone());
                if target == start {
                    return Some(longer);
                }
                if seen.insert(target.clone()) {
                    ways.push(longer);
                }
            }
        }
        None
    }
}

/// The paths in a file that may lead into another one, from the crate's root on.
struct Paths<'a> {
    module: &'a Module,
    found: Vec<Module>,
}

impl Paths<'_> {
    fn add(&mut self, path: &[String]) {
        let mut found = match path.first().map(String::as_str) {
            Some("crate") => path.to_vec(),
            Some("self") => [self.module, &path[1..]].concat(),
            Some("super") => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let above = self.module.len().saturating_sub(up);
                [&self.module[..above], &path[up..]].concat()
            }
            _ => return,
        };
        for (alias, module) in ALIASES {
            if found.iter().zip(*alias).filter(|(a, b)| a == *b).count() == alias.len() {
                let rest = found.split_off(alias.len());
                found = module.iter().map(ToString::to_string).chain(rest).collect();
            }
        }
        self.found.push(found);
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.add(before),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter().map(|part| part.ident.to_string());
        self.add(&parts.collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    // Where something can be seen is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn this_repository_has_no_circle() {
        check(&Root::of_this_xtask().unwrap()).unwrap();
    }

    fn imports(files: &[(&str, &str)]) -> Imports {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Imports::of(folder.path(), &["crate"]).unwrap()
    }

    fn circle(files: &[(&str, &str)]) -> Option<String> {
        let circle = imports(files).circle()?;
        let names = circle.iter().map(|module| module.join("::"));
        Some(names.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_tree_has_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "mod c; pub struct B; fn f() { self::c::f() }"),
            ("b/c.rs", "pub(in crate::b) fn f() {}"),
        ];
        assert_eq!(circle(&files), None);
    }

    #[test]
    fn a_circle_is_found_whatever_the_path() {
        for back in [
            "use super::a::A;",
            "use crate::{a::A};",
            "fn f() { crate::a::f() }",
            "type T = Vec<super::a::A>;",
        ] {
            let files = [
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", "use crate::b::B;"),
                ("b.rs", back),
            ];
            let found = circle(&files);
            assert_eq!(
                found.as_deref(),
                Some("crate::a crate::b crate::a"),
                "{back}"
            );
        }
    }

    #[test]
    fn tests_are_not_looked_at() {
        let files = [
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert_eq!(circle(&files), None);
    }
}
