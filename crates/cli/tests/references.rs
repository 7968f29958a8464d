//! Programs that compilers have made of exceptions and of the garbage-collected heap print what
//! they should, two side by side, whatever preempts them.

mod common;

use common::{each_mode, run};

/// Also what the program prints that is compiled for the host.
const CATCH: &str = "20 rounds: 1186244a7871b576\n";

/// Also what the program prints on a JVM.
const OBJECTS: &str = "\
trees 163800 32767
maps 5000 key1888=25, key2152=25, key2396=24
shapes [false:599958, true:4188063] -251858601
exceptions 1249695364 50000
primes 148933
matrix 8739360.0
text 95632 20001 -1019396042
";

fn print_in_slices(guest: &str, expected: &str, fuel: &str) {
    for mode in each_mode() {
        let slice = match mode.name {
            "signal" => "--slice=50us",
            "epoch" => "--slice=200us",
            _ => fuel,
        };
        let preemption = format!("--preemption={}", mode.name);
        let ran = run(&[&preemption, slice, "-q", guest, guest]);
        // Their lines may come in any order, but each comes twice.
        let mut lines: Vec<&str> = ran.stdout.lines().collect();
        lines.sort();
        let mut twice: Vec<&str> = expected.lines().chain(expected.lines()).collect();
        twice.sort();
        assert_eq!((ran.status, lines), (0, twice), "{}", mode.name);
    }
}

#[test]
fn cpp_exceptions_are_caught() {
    print_in_slices("references/catch.wasm(20)", CATCH, "--slice=10000");
}

#[test]
fn kotlin_objects_stay_alive() {
    print_in_slices("references/objects.wasm", OBJECTS, "--slice=100000");
}
