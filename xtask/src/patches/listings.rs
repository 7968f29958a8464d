//! Upstream's test of what code is compiled to, `tests/disas.rs`, on the files in
//! overlay/tests/disas, which end with the expected listing.
//!
//! The files of upstream's own that the test reads are not published, but the test is.

use super::upstream_tests::patched_by;
use crate::files::{link, write_if_changed};
use crate::root::{Root, cargo, run};
use crate::upstream::Upstream;
use crate::vendor;
use anyhow::{Context, Result};
use std::fs;

/// What upstream's test calls it.
const BLESS: &str = "WASMTIME_TEST_BLESS";

/// Compares them, or writes them anew if `bless`.
pub fn run_them(root: &Root, bless: bool) -> Result<()> {
    vendor::ensure(root)?;
    let dir = root.target()?.join("patches-build");
    let package = dir.join("tests/listings");
    let upstream = Upstream::fetch(root)?;
    let tree = root.wasmtime();
    let version = |name: &str| {
        let krate = upstream.crates.iter().find(|krate| krate.name == name);
        let krate = krate.with_context(|| format!("`{name}` is not laid out"));
        krate.map(|krate| krate.version.clone())
    };
    let (wasmtime, cranelift) = (version("wasmtime")?, version("cranelift-codegen")?);
    let manifest = format!(
        "[workspace]\n\
         [package]\nname = \"listings\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n\
         [[test]]\nname = \"disas\"\npath = \"disas.rs\"\nharness = false\n\
         [dev-dependencies]\n\
         clap = {{ version = \"4\", features = [\"derive\"] }}\n\
         cranelift-codegen = \"={cranelift}\"\n\
         cranelift-reader = \"={cranelift}\"\n\
         env_logger = \"0.11\"\n\
         libtest-mimic = \"0.8\"\n\
         log = \"0.4\"\n\
         serde = \"1\"\n\
         serde_derive = \"1\"\n\
         similar = \"3\"\n\
         tempfile = \"3\"\n\
         termcolor = \"1\"\n\
         wasmtime = \"={wasmtime}\"\n\
         wasmtime-cli = {{ version = \"={wasmtime}\", default-features = false, \
         features = [\"cranelift\", \"component-model-async\", \"gc\", \"gc-drc\", \"objdump\"] }}\n\
         wasmtime-cli-flags = \"={wasmtime}\"\n\
         wasmtime-test-util = {{ path = {:?} }}\n{}",
        root.path.join("xtask/test-util"),
        patched_by(&upstream, &tree, &[])?,
    );
    let manifest = format!("{manifest}[patch.crates-io.wasmtime-cli]\npath = {tree:?}\n");
    write_if_changed(&package.join("Cargo.toml"), manifest.as_bytes())?;
    // A package has to have more than tests.
    write_if_changed(&package.join("lib.rs"), b"")?;
    let lock = package.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root.upstream().join("Cargo.lock"), &lock)?;
    }
    link(&tree.join("tests/disas.rs"), &package.join("disas.rs"))?;
    let listings = root.overlay().join("tests/disas");
    link(&listings, &package.join("tests/disas"))?;

    let mut test = cargo(&package);
    test.env("CARGO_TARGET_DIR", dir.join("target"));
    match bless {
        true => test.env(BLESS, "1"),
        false => test.env_remove(BLESS),
    };
    run(
        test.args(["test", "--test", "disas"]),
        "the comparison of listings (`cargo xtask patches listings --bless` accepts them)",
    )
}
