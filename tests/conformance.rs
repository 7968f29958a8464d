//! The WebAssembly specification's tests pass where each call, and each start of an instance, is
//! a guest thread beside a sibling that never yields, and so do programs in C that test POSIX
//! threads: `cargo xtask conformance`.

mod directives;
mod expected;
mod guests;
mod pthreads;
mod report;
mod source;
#[cfg_attr(
    not(all(
        debug_assertions,
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    )),
    path = "conformance/steps_unsupported.rs"
)]
mod steps;
mod suites;
mod values;

use expected::Expected;
use report::Report;
use source::Source;
use std::env;
use suites::Which;

/// Runs files under each of `sources`. Prints what came of it, and fails unless that is as
/// expected.
fn check(sources: &[Source], which: Which) {
    let expected = Expected::load();
    let mut reports: Vec<Report> = sources.iter().map(|source| Report::new(*source)).collect();
    let mut found = false;
    for suite in suites::all() {
        let files: Vec<_> = suite.files.iter().filter(|file| which.has(file)).collect();
        if files.is_empty() {
            continue;
        }
        found = true;
        let engine = suite.engine(sources[0]);
        for file in files {
            let mut modules = directives::Modules::new(&engine);
            for report in &mut reports {
                let run = directives::run(file, &mut modules, report.source());
                report.add(&file.path, run, &expected);
            }
        }
        for report in &mut reports {
            report.print_suite(&suite.name);
        }
    }
    let programs = pthreads::PROGRAMS.iter();
    let programs: Vec<_> = programs
        .filter(|name| which.has_program(&pthreads::path(name)))
        .collect();
    found |= !programs.is_empty();
    if sources[0].has_processes() && !programs.is_empty() {
        let host = pthreads::Host::new(sources[0]);
        for name in programs {
            let module = host.load(name);
            for report in &mut reports {
                let run = host.run(name, &module, report.source(), which.repeats());
                report.add(&pthreads::path(name), run, &expected);
            }
        }
        for report in &mut reports {
            report.print_suite("pthreads");
        }
    }
    assert!(
        found,
        "no file has such a path (one that several suites have is in the first)"
    );
    let ends = reports.into_iter().map(Report::finish);
    let unexpected = ends.collect::<Vec<_>>().concat();
    assert!(
        unexpected.is_empty(),
        "{} are not as expected:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
}

/// What `cargo xtask conformance NAME` has asked for, and otherwise everything.
fn all() -> Which {
    match env::var("CONFORMANCE_NAME") {
        Ok(name) => Which::Named(name),
        Err(_) => Which::All,
    }
}

const FUEL: [Source; 2] = [Source::Fuel(1), Source::Fuel(7)];

mod a_sample_passes {
    use super::*;

    #[test]
    fn under_fuel() {
        check(&FUEL, Which::Sample);
    }

    #[test]
    fn under_epochs() {
        check(&[Source::Epochs], Which::Sample);
    }

    #[cfg(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ))]
    #[test]
    fn under_signals() {
        check(&[Source::Signals], Which::Sample);
    }

    #[cfg(all(
        debug_assertions,
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ))]
    #[test]
    fn before_each_instruction() {
        check(&[Source::Instructions], Which::Few);
    }
}

mod all_of_it_passes {
    use super::*;

    /// What fails here as well does not fail because of guest threads.
    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn in_plain_calls() {
        check(&[Source::PlainCalls], all());
    }

    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn under_fuel() {
        check(&FUEL, all());
    }

    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn under_epochs() {
        check(&[Source::Epochs], all());
    }

    #[cfg(all(
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ))]
    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn under_signals() {
        check(&[Source::Signals], all());
    }

    #[cfg(all(
        debug_assertions,
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    ))]
    #[test]
    #[ignore = "long: cargo xtask test --full"]
    fn before_each_instruction() {
        check(&[Source::Instructions], all());
    }
}
