//! `cargo xtask adopt` of programs that embed Wasmtime through crates of other people.

use crate::fixture::cargo;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [(&str, &str); 3] = [
    (
        "opa-wasm",
        "opa-wasm: {\"roles\":[1,2],\"user\":\"alice\"}\n",
    ),
    ("tree-sitter", "tree-sitter: "),
    ("wasmtime-cli", "42\n"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "compiles three embedders of Wasmtime, downloads what they need, and needs cmake"]
fn embedders_are_adopted_and_run_guests() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().canonicalize().unwrap().join("embedders");
    let from = root().join("fixtures/embedders");
    let mut files = vec!["Cargo.toml".to_string()];
    for (name, _) in PROGRAMS {
        files.extend(["Cargo.toml", "src/main.rs"].map(|file| format!("{name}/{file}")));
    }
    for file in files {
        let to = dir.join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from.join(&file), to).unwrap();
    }

    let mut adopt = Command::new(env!("CARGO_BIN_EXE_xtask"));
    adopt.arg("--root").arg(root()).arg("adopt").arg(&dir);
    println!("{}", run(&mut adopt));
    // What is compiled once serves all later runs.
    let target = root().join("target/embedders");
    let mut build = Command::new(cargo());
    build.args([
        "build",
        "--workspace",
        "--quiet",
        "--locked",
        "--target-dir",
    ]);
    run(build
        .arg(&target)
        .current_dir(&dir)
        .env("CARGO_INCREMENTAL", "0"));
    for (name, prints) in PROGRAMS {
        let printed = run(&mut Command::new(target.join(format!("debug/use-{name}"))));
        assert!(printed.contains(prints), "{name}: {printed}");
        print!("{printed}");
    }
}
