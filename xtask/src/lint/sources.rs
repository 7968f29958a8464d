//! Source files, for the checks that read them.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use syn::Attribute;

/// Adds the Rust files in `folder`, and in the folders below it, to `files`.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// # Errors
///
/// If the file cannot be read, or is not Rust.
pub fn parse(file: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    syn::parse_file(&text).with_context(|| file.display().to_string())
}

/// Whether an item with these attributes is compiled for tests only.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}
