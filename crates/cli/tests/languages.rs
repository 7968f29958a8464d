//! Commands that other languages' tools have made, JavaScript and Python, print side by side what
//! they print alone. `fixtures/components/build.sh` makes them.

mod common;

use common::components::spin_or_answer;
use common::{Mode, each_mode, out, run};
use std::path::Path;
use std::process::Command;

/// Of the Mandelbrot set.
const ROWS: usize = 40;

/// What one of them prints, and from which file it is.
struct Program {
    path: String,
    printed: String,
}

/// `None` if it was not made.
fn program(language: &str) -> Option<String> {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/components");
    let path = format!("{target}/{language}-command.wasm");
    if !Path::new(&path).exists() {
        eprintln!("not tested: `fixtures/components/build.sh` makes {path}");
        return None;
    }
    Some(path)
}

impl Mode {
    /// Compiles it once for several runs.
    fn compile(self, program: &str, name: &str) -> String {
        let path = out(&format!("{name}-{}.cwasm", self.name));
        let args = ["compile", "--preemption", self.name, program, "-o", &path];
        let preempt = Command::new(env!("CARGO_BIN_EXE_preempt"))
            .args(args)
            .status();
        assert!(preempt.unwrap().success());
        path
    }

    fn alone(self, path: String) -> Program {
        let guest = format!("{path}({ROWS})");
        let ran = self.run_one_by_one(&["--quiet", "--allow-precompiled", &guest]);
        let printed = ran.expect(0).stdout;
        assert_eq!(printed.lines().count(), ROWS + 1, "{printed}");
        Program { path, printed }
    }
}

/// What guest `number` has printed, of what all have printed with labels.
fn of_guest(number: usize, printed: &str) -> String {
    let label = format!("{number} ");
    let lines = printed.lines().filter(|line| line.starts_with(&label));
    let text = lines.map(|line| line.split_once(" | ").unwrap().1);
    text.map(|text| format!("{text}\n")).collect()
}

#[test]
#[ignore = "long: cargo xtask test --full"]
fn javascript_and_python_print_beside_each_other_what_they_print_alone() {
    let (Some(js), Some(python)) = (program("js"), program("python")) else {
        return;
    };
    let spin = format!("{}:spin", spin_or_answer("languages-spin.wat"));
    for mode in each_mode() {
        let programs = [(&js, "js"), (&python, "python")];
        let programs = programs.map(|(program, name)| mode.alone(mode.compile(program, name)));
        let slice = match mode.name {
            "fuel" => "--slice=10000",
            _ => "--slice=200us",
        };
        let guests = [0, 1, 0, 1].map(|n| format!("{}({ROWS})", programs[n].path));
        let mut args = vec!["--preemption", mode.name, slice, "--allow-precompiled"];
        args.extend(["--until=1", "--until=2", "--until=3", "--until=4"]);
        args.extend(guests.iter().map(String::as_str));
        args.push(&spin);

        let ran = run(&[&["--quiet", "--label"], &args[..]].concat()).expect(0);
        for (n, program) in [0, 1, 0, 1].into_iter().enumerate() {
            assert_eq!(of_guest(n + 1, &ran.stdout), programs[program].printed);
        }
        let firsts = ran
            .stdout
            .lines()
            .map(|line| line.split_once(' ').unwrap().0);
        let mut turns: Vec<&str> = firsts.collect();
        turns.dedup();
        assert!(turns.len() > 8, "one after the other: {turns:?}");
    }
}
