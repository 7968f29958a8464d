//! What the documentation tells readers to type works.
//!
//! Commands run for real where that is quick and changes nothing. Of the others,
//! the command itself is asked whether it knows these options.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a reader puts the path of their checkout for.
const CHECKOUT: &str = "/path/to/this/repository/";

#[derive(Clone, Copy)]
enum How {
    Run,
    /// Has to end with this status, and to print this.
    Tells(i32, &'static str),
    /// The words after the known ones have to be in what this prints: options
    /// there, files in the repository.
    LookUp(&'static str),
    /// As `fixtures/build.sh` has it: tests need no C compiler.
    InBuildScript,
}
use How::*;

/// By their first words. The first match counts.
const KNOWN: &[(&str, How)] = &[
    ("cargo xtask demo", Run),
    // What is looked for is a failure.
    (
        "cargo xtask run -- run --preemption fuel --slice 100 --policy random --search",
        Tells(1, "repeats this run"),
    ),
    // Does not end by itself.
    (
        "cargo xtask run -- serve",
        LookUp("cargo xtask run -- serve --help"),
    ),
    ("cargo xtask run --", Run),
    ("cargo xtask patches list", Run),
    ("cargo xtask vendor --check", Run),
    // These would run this test, take minutes, or write to the repository.
    ("cargo xtask test", LookUp("cargo xtask test --help")),
    (
        "cargo xtask conformance",
        LookUp("cargo xtask conformance --help"),
    ),
    // Compiles Wasmtime once more, and takes as long as it is told.
    ("cargo xtask fuzz", LookUp("cargo xtask fuzz --help")),
    ("cargo xtask bench", LookUp("cargo xtask bench --help")),
    ("cargo xtask lint", LookUp("cargo xtask lint --help")),
    (
        "cargo xtask wasmtime",
        LookUp("cargo xtask wasmtime --help"),
    ),
    ("cargo xtask adopt", LookUp("cargo xtask adopt --help")),
    ("cargo xtask dist", LookUp("cargo xtask dist --help")),
    ("cargo xtask paper", LookUp("cargo xtask paper --help")),
    ("cargo xtask vendor", LookUp("cargo xtask vendor --help")),
    (
        "cargo xtask patches save",
        LookUp("cargo xtask patches save --help"),
    ),
    (
        "cargo xtask patches check",
        LookUp("cargo xtask patches check --help"),
    ),
    (
        "cargo xtask patches listings",
        LookUp("cargo xtask patches listings --help"),
    ),
    // Downloads another Wasmtime.
    ("cargo xtask port", LookUp("cargo xtask port --help")),
    (
        "cargo xtask patches build",
        LookUp("cargo xtask patches build --help"),
    ),
    ("cargo doc", LookUp("cargo doc --help")),
    (
        "cargo generate-lockfile",
        LookUp("cargo generate-lockfile --help"),
    ),
    ("git -C vendor/wasmtime commit", LookUp("git commit -h")),
    ("git -C vendor/wasmtime rebase", LookUp("git rebase -h")),
    ("git am", LookUp("git am -h")),
    ("cp", LookUp("cp --help")),
    ("clang-19", InBuildScript),
];

#[test]
fn each_command_in_a_code_block_works() {
    let mut shell = Shell::default();
    let mut failures = String::new();
    let mut checked = BTreeSet::new();
    for doc in docs() {
        for command in shell_commands(&fs::read_to_string(&doc).unwrap()) {
            if let Err(error) = shell.check(&command) {
                writeln!(failures, "{}: `{command}`: {error}", doc.display()).unwrap();
            }
            checked.insert(command);
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(
        checked.contains("cargo xtask demo") && checked.contains("cargo xtask test"),
        "README.md names the two commands that do everything, but found were {checked:?}"
    );
}

#[test]
fn each_xtask_command_in_the_text_exists() {
    let mut shell = Shell::default();
    let mut failures = String::new();
    let mut found = 0;
    for doc in docs() {
        for command in xtask_commands(&fs::read_to_string(&doc).unwrap()) {
            found += 1;
            let words: Vec<&str> = command.split(' ').collect();
            // `patches` has commands of its own.
            let name = match &words[..] {
                [_, _, "patches", which, ..] => format!("patches {which}"),
                [_, _, name, ..] => name.to_string(),
                _ => continue,
            };
            let known = format!("cargo xtask {name}");
            if let Err(error) = shell.look_up(&format!("{known} --help"), &command[known.len()..]) {
                writeln!(failures, "{}: `{command}`: {error}", doc.display()).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(found > 5, "{found} commands found");
}

/// The README of the repository and of its folders, all of docs/, and the cover texts.
fn docs() -> Vec<PathBuf> {
    let in_folder = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let readmes = [in_folder(""), in_folder("crates")].concat();
    let readmes = readmes.iter().map(|folder| folder.join("README.md"));
    let mut docs: Vec<PathBuf> = [Path::new(ROOT).join("README.md")]
        .into_iter()
        .chain(readmes)
        .chain(in_folder("docs"))
        .chain(in_folder("patches/series"))
        .filter(|path| path.extension().is_some_and(|ext| ext == "md") && path.is_file())
        .collect();
    docs.sort();
    docs
}

/// The lines of the blocks that are marked as `sh`, without their comments.
fn shell_commands(markdown: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut in_block = false;
    // A line may go on in the next one.
    for line in markdown.replace("\\\n", " ").lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_block = line == "```sh";
            continue;
        }
        let command = line.split(" #").next().unwrap_or_default();
        if in_block && !command.is_empty() && !command.starts_with('#') {
            commands.push(command.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    commands
}

/// What begins with `cargo xtask` in the text outside of blocks.
fn xtask_commands(markdown: &str) -> Vec<String> {
    let mut text = String::new();
    for (i, part) in markdown.split("```").enumerate() {
        if i % 2 == 0 {
            text += part;
        }
    }
    text.split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split("&&"))
        .map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|code| code.starts_with("cargo xtask "))
        .collect()
}

/// Runs commands, each help but once.
#[derive(Default)]
struct Shell {
    help: BTreeMap<String, String>,
}

impl Shell {
    fn check(&mut self, command: &str) -> Result<(), String> {
        let known = KNOWN.iter().find_map(|(words, how)| {
            let rest = command.strip_prefix(words)?;
            (rest.is_empty() || rest.starts_with(' ')).then_some((how, rest))
        });
        match known {
            Some((Run, _)) => run(command, 0, ""),
            Some((Tells(status, text), _)) => run(command, *status, text),
            Some((LookUp(help), rest)) => self.look_up(help, rest),
            Some((InBuildScript, _)) => in_build_script(command),
            None => Err(
                "is not known to be tested: add it to KNOWN in tests/docs.rs, \
                         with the way in which it can be"
                    .to_string(),
            ),
        }
    }

    /// Checks `words` against what `help` prints and the files that there are.
    fn look_up(&mut self, help: &str, words: &str) -> Result<(), String> {
        let text = match self.help.get(help) {
            Some(text) => text,
            None => {
                let output = shell(help);
                let text = [output.stdout, output.stderr].concat();
                // Git's status for this is 129.
                if !output.status.success() && output.status.code() != Some(129) {
                    return Err(format!("`{help}`: {}", String::from_utf8_lossy(&text)));
                }
                let text = String::from_utf8_lossy(&text).replace("[no-]", "");
                self.help.entry(help.to_string()).or_insert(text)
            }
        };
        for word in words.split_whitespace().take_while(|word| *word != "--") {
            let option = word.split('=').next().unwrap_or_default();
            let mut options = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
            if word.starts_with('-') && !options.any(|known| known == option) {
                return Err(format!("`{help}` does not tell of {option}"));
            }
            let file = word.strip_prefix(CHECKOUT).unwrap_or(word);
            let file = file.split('*').next().unwrap_or_default();
            if !word.starts_with('-') && file.contains('/') && !Path::new(ROOT).join(file).exists()
            {
                return Err(format!("there is no {file}"));
            }
        }
        Ok(())
    }
}

fn shell(command: &str) -> Output {
    let mut shell = Command::new("sh");
    // What cargo tells this test of its own package.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            shell.env_remove(&name);
        }
    }
    shell
        .args(["-c", command])
        .current_dir(ROOT)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn run(command: &str, status: i32, text: &str) -> Result<(), String> {
    let output = shell(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.code() != Some(status) || !stdout.contains(text) {
        return Err(format!("{}\n{stdout}\n{stderr}", output.status));
    }
    // `cargo xtask test` says so: the build before this was the one of all tests.
    if std::env::var_os("XTASK_TEST").is_some() && stderr.contains("Compiling wasmtime v") {
        return Err(format!(
            "compiled Wasmtime once more than the tests did: see `build` in \
             xtask/src/preempt.rs\n{stderr}"
        ));
    }
    Ok(())
}

fn in_build_script(command: &str) -> Result<(), String> {
    let script = fs::read_to_string(Path::new(ROOT).join("fixtures/build.sh")).unwrap();
    let script = script.replace("\\\n", " ");
    let script: Vec<&str> = script.split_whitespace().collect();
    let (options, files) = command
        .split_once(" -o ")
        .ok_or("is expected to have -o FILE.wasm FILE.c")?;
    if !script
        .join(" ")
        .contains(&format!("{options} -o \"$out/$wasm\" \"$source\""))
    {
        return Err("is not how fixtures/build.sh calls the compiler".to_string());
    }
    let source = files.split(' ').next_back().unwrap_or_default();
    if files != format!("{} {source}", source.replace(".c", ".wasm"))
        || !Path::new(ROOT).join("fixtures").join(source).is_file()
    {
        return Err(format!("{files} are not a fixture and its source"));
    }
    Ok(())
}

#[test]
fn unknown_commands_and_options_are_found() {
    let mut shell = Shell::default();
    let mut error = |command: &str| shell.check(command).unwrap_err();
    assert!(error("cargo xtask dance").contains("add it to KNOWN in tests/docs.rs"));
    assert!(error("cargo xtask demolish").contains("add it to KNOWN"));
    assert!(error("cargo xtask test --nonsense").contains("does not tell of --nonsense"));
    assert!(error("git am --nonsense").contains("does not tell of --nonsense"));
    assert!(error(&format!("cp -r {CHECKOUT}nowhere/. .")).contains("there is no nowhere/."));
    assert!(error("clang-19 -O3 -o echo.wasm echo.c").contains("not how fixtures/build.sh"));
    assert!(error("cargo xtask run -- run fixtures/nope.wat").contains("cannot read"));
}

#[test]
fn commands_are_found_in_blocks_and_in_the_text() {
    let markdown = "\
Text with `cargo xtask lint\n&& cargo xtask test`, `cargo`.\n
  ```sh
  one --a  \\
    --b    # what it does
  # a comment
  two
  ```
```text
three
```
";
    assert_eq!(shell_commands(markdown), ["one --a --b", "two"]);
    assert_eq!(
        xtask_commands(markdown),
        ["cargo xtask lint", "cargo xtask test"]
    );
}
