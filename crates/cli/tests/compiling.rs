//! Guests that were compiled before: by `preempt compile`, or by an earlier run with a cache.

mod common;

use common::components::spin_or_answer;
use common::{bad_usage, each_mode, file, out, run, signals_work};
use std::fs;
use std::process::{Command, Output};

fn preempt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_preempt"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
        .output()
        .unwrap()
}

/// `preempt compile ARGS -o PATH`, and the path.
fn compiled(name: &str, args: &[&str]) -> String {
    let path = out(name);
    let output = preempt(&[&["compile"], args, &["-o", &path]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    path
}

#[test]
fn compiled_guests_run_beside_others() {
    for mode in each_mode() {
        let name = format!("fib-{}.cwasm", mode.name);
        let options = ["--preemption", mode.name, "fib.wat"];
        let path = compiled(&name, &options);
        let guest = format!("{path}:fib(20)");
        let ran = mode.run(&["--json", "--allow-precompiled", &guest, "fib.wat:fib(10)"]);
        let json = ran.expect(0).json();
        assert_eq!(json["threads"][0]["results"][0], 6765);
        assert_eq!(json["threads"][1]["results"][0], 55);
    }
}

#[test]
fn compiled_guests_are_preempted_and_limited() {
    for mode in each_mode() {
        let name = format!("spin-{}.cwasm", mode.name);
        let options = ["--preemption", mode.name, "--fuel", "spin.wat"];
        let path = compiled(&name, &options);
        let options = ["--json", "--allow-precompiled", "--fuel-limit=100000"];
        let json = mode
            .run(&[&options[..], &[&*path]].concat())
            .expect(1)
            .json();
        let thread = &json["threads"][0];
        assert_eq!(thread["limit"]["name"], "fuel_limit", "{json}");
    }
}

#[test]
fn compiled_process_has_threads() {
    for mode in each_mode() {
        let name = format!("hello-{}.cwasm", mode.name);
        let options = ["--preemption", mode.name, "threads/hello.wasm"];
        let path = compiled(&name, &options);
        let ran = mode.run(&["--allow-precompiled", &path]).expect(0);
        let plain = mode.run(&["threads/hello.wasm"]).expect(0);
        let lines = |ran: &str| ran.lines().next().unwrap().to_string();
        assert_eq!(lines(&ran.stdout), lines(&plain.stdout));
    }
}

#[test]
fn compiled_component_runs_beside_others() {
    let source = spin_or_answer("compile-answer.wat");
    for mode in each_mode() {
        let name = format!("answer-{}.cwasm", mode.name);
        let path = compiled(&name, &["--preemption", mode.name, &source]);
        let (spin, answer) = (format!("{path}:spin"), format!("{path}:answer"));
        let args = ["--json", "--allow-precompiled", "--until=2", &spin, &answer];
        let json = mode.run(&args).expect(0).json();
        assert_eq!(json["threads"][1]["results"][0], 42);
        bad_usage(&[&answer], &["compiled already", "--allow-precompiled"]);
    }
}

#[test]
fn compiled_guests_must_be_allowed() {
    let path = compiled("not-allowed.cwasm", &["spin.wat"]);
    bad_usage(
        &[&path],
        &[&path, "compiled already", "--allow-precompiled"],
    );
}

#[test]
fn compiled_guests_must_fit_the_options() {
    let path = compiled("epoch.cwasm", &["--preemption=epoch", "fib.wat"]);
    let guest = format!("{path}:fib(1)");
    let others: &[&str] = if signals_work() {
        &["signal", "fuel"]
    } else {
        &["fuel"]
    };
    for other in others {
        let preemption = format!("--preemption={other}");
        let advice = format!("`preempt compile --preemption {other}`");
        bad_usage(
            &["--allow-precompiled", &preemption, &guest],
            &[&path, "compiled for other options", &advice],
        );
    }
    bad_usage(
        &[
            "--allow-precompiled",
            "--preemption=epoch",
            "--fuel-limit=1000",
            &guest,
        ],
        &["`preempt compile --preemption epoch --fuel`"],
    );
    bad_usage(
        &[
            "--allow-precompiled",
            "--preemption=epoch",
            &format!("{path}:fob"),
        ],
        &["did you mean `fib`?"],
    );
}

#[test]
fn file_that_only_looks_compiled_is_refused() {
    let path = compiled("broken.cwasm", &["--preemption=epoch", "spin.wat"]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    let broken = file("broken-half.cwasm", bytes);
    bad_usage(
        &["--allow-precompiled", "--preemption=epoch", &broken],
        &[&broken],
    );
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let bad = |args: &[&str], parts: &[&str]| {
        let output = preempt(&[&["compile"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        for part in parts {
            assert!(stderr.contains(part), "{part} in {stderr}");
        }
    };
    bad(&["nope.wat"], &["cannot read nope.wat"]);
    let component = file(
        "compile-component.wat",
        "(component (core module (func (result i32))))",
    );
    bad(
        &[&component],
        &["cannot compile", "valid WebAssembly component"],
    );
    let invalid = file("compile-invalid.wat", "(module (func (result i32)))");
    bad(&[&invalid], &["cannot compile", "type mismatch"]);
    let module = file("compile-module.wat", "(module)");
    bad(&[&module, "-o", &module], &["--output", "the input itself"]);
    bad(&[&module, "-o", "/nowhere/x"], &["cannot write /nowhere/x"]);
    let path = compiled("twice.cwasm", &["spin.wat"]);
    bad(&[&path, "-o", &out("thrice.cwasm")], &["compiled already"]);
}

/// How many files there are below `folder`.
fn files(folder: &str) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let entries = entries.map(|entry| entry.unwrap().path());
    let each = entries.map(|path| match path.is_dir() {
        true => files(path.to_str().unwrap()),
        false => 1,
    });
    each.sum()
}

#[test]
fn cache_keeps_compiled_components() {
    let folder = out("component-cache");
    let _ = fs::remove_dir_all(&folder);
    let config = file(
        "component-cache.toml",
        format!("[cache]\ndirectory = '{folder}'\n"),
    );
    let option = format!("-Ccache-config={config}");
    let guest = spin_or_answer("cache-answer.wat") + ":answer";
    for _ in 0..2 {
        let json = run(&["--json", &option, &guest]).expect(0).json();
        assert_eq!(json["threads"][0]["results"][0], 42);
        assert!(files(&folder) > 0);
    }
}

#[test]
fn cache_keeps_compiled_guests_apart_by_preemption() {
    let folder = out("cache");
    let _ = fs::remove_dir_all(&folder);
    let config = file("cache.toml", format!("[cache]\ndirectory = '{folder}'\n"));
    let option = format!("-Ccache-config={config}");
    let mut kept = 0;
    for mode in each_mode() {
        for nth in 0..2 {
            let ran = mode.run(&["--json", &option, "-Ccache=y", "fib.wat:fib(20)"]);
            assert_eq!(ran.expect(0).json()["threads"][0]["results"][0], 6765);
            let now = files(&folder);
            match nth {
                0 => assert!(now > kept, "{now}"),
                // How often an entry was used is kept as well.
                _ => assert!(now >= kept, "{now}"),
            }
            kept = now;
        }
    }
    run(&["--json", &option, "-Ccache=n", "fib.wat:fib(21)"]).expect(0);
    assert_eq!(files(&folder), kept);
}

#[test]
fn cache_options_are_those_of_wasmtime() {
    bad_usage(
        &["-C", "cache=maybe", "spin.wat"],
        &["cache=maybe", "`cache=n`"],
    );
    bad_usage(&["-C", "opt-level=2", "spin.wat"], &["`cache-config=FILE`"]);
    bad_usage(
        &["-C", "cache-config=nowhere.toml", "spin.wat"],
        &["-C cache-config=nowhere.toml", "failed to read config file"],
    );
}
