//! What keeps the machine busy beside the tests goes when nobody needs it any more.

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn a_spinner_spins_until_whoever_started_it_is_gone() {
    let mut spinner = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("spin")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // It reads to the end, so it is still there after some of it.
    let mut stdin = spinner.stdin.take().unwrap();
    stdin.write_all(&[0; 1 << 20]).unwrap();
    assert!(spinner.try_wait().unwrap().is_none());
    // As the system does when a process ends, whatever has ended it.
    drop(stdin);
    assert!(spinner.wait().unwrap().success());
}
