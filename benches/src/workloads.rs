//! What guests the benchmarks run, and what those have to come to. Compiled into
//! the published Wasmtime's programs too.
//!
//! The paper's results are computed by Rust, in the same order, so that they are the
//! same to the last bit. Those of the broader set are constants: what the same
//! computation comes to outside of WebAssembly.

use wasmtime::{Result, Val, bail, ensure};

/// A guest without imports, whose `run(times: i32)` does its work so often.
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// Binary or text.
    pub guest: &'static [u8],
    expected: Expected,
}

enum Expected {
    Computed(fn() -> Answer),
    Constant(i64),
}

/// The right result.
pub struct Answer {
    /// The bits of what `run` returns.
    pub result: u64,
    /// What is in memory afterwards, and where.
    pub memory: Option<(usize, Vec<u8>)>,
}

/// The paper's three.
pub const PAPER: [Workload; 3] = [
    Workload {
        name: "fib",
        what: "fib(32)",
        guest: include_bytes!("../../fixtures/paper/fib.wat"),
        expected: Expected::Computed(fib),
    },
    Workload {
        name: "dot",
        what: "dot product, 4096 * 4096 f64",
        guest: include_bytes!("../../fixtures/paper/dot.wat"),
        expected: Expected::Computed(dot),
    },
    Workload {
        name: "matmul",
        what: "matrix product, 512 * 512 f64",
        guest: include_bytes!("../../fixtures/paper/matmul.wat"),
        expected: Expected::Computed(matmul),
    },
];

macro_rules! broad {
    ($name:literal, $file:literal, $what:literal, $result:literal) => {
        Workload {
            name: $name,
            what: $what,
            guest: include_bytes!(concat!("../../fixtures/workloads/", $file)),
            expected: Expected::Constant($result),
        }
    };
}

/// More like real guests, and more unlike each other.
pub const BROAD: [Workload; 14] = [
    broad!(
        "branchy",
        "branchy.wat",
        "branchy integer code",
        563004510718
    ),
    broad!("nested", "nested.wat", "short nested loops", 96559776649472),
    broad!("calls", "calls.wat", "many small calls", 1072058943861162),
    broad!(
        "indirect",
        "indirect.wat",
        "calls through a table",
        2316733365625787
    ),
    broad!("scan", "scan.wat", "string scanning", 2037082888239014063),
    broad!("sieve", "sieve.wat", "tight stores: a sieve", 838596693108),
    broad!("simd", "simd.wat", "a SIMD kernel", -4528754723600794037),
    broad!("sort", "sort.wasm", "C: sorting", 3056337776837535181),
    broad!("hash", "hash.wasm", "C: SHA-256", 2653018186062486801),
    broad!(
        "nbody",
        "nbody.wasm",
        "C: gravity in f64",
        -5473084204566355530
    ),
    broad!(
        "interp",
        "interp.wasm",
        "C: a bytecode interpreter",
        3078465000075600514
    ),
    broad!(
        "regex",
        "regex.wasm",
        "C: regular expressions",
        8845213782717735127
    ),
    broad!("json", "json.wasm", "C: JSON", -5265532196205636379),
    broad!(
        "compress",
        "compress.wasm",
        "C: LZ77 and Huffman",
        -3645727126968897966
    ),
];

impl Workload {
    pub fn answer(&self) -> Answer {
        match self.expected {
            Expected::Computed(compute) => compute(),
            Expected::Constant(result) => Answer {
                result: result.cast_unsigned(),
                memory: None,
            },
        }
    }
}

impl Answer {
    pub fn check(&self, result: &Val) -> Result<()> {
        let bits = match result {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            Val::F64(bits) => *bits,
            _ => bail!("the guest has returned {result:?}, and not a number"),
        };
        ensure!(
            bits == self.result,
            "the guest's result is wrong: it has the bits {bits:#x}, and not {:#x}",
            self.result
        );
        Ok(())
    }
}

fn fib() -> Answer {
    fn fib(n: u32) -> u32 {
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }
    Answer {
        result: fib(32).into(),
        memory: None,
    }
}

/// The elements of both operands, as the guests fill them in.
fn operands(len: u32) -> (Vec<f64>, Vec<f64>) {
    let vector = |modulus, divisor| (0..len).map(|i| f64::from(i % modulus) / divisor).collect();
    (vector(1021, 7.0), vector(509, 11.0))
}

fn dot() -> Answer {
    let (a, b) = operands(4096 * 4096);
    let sum = a.iter().zip(&b).fold(0.0, |sum, (a, b)| sum + a * b);
    Answer {
        result: f64::to_bits(sum),
        memory: None,
    }
}

fn matmul() -> Answer {
    const N: usize = 512;
    let (a, b) = operands((N * N) as u32);
    let mut c = vec![0.0; N * N];
    for (i, c) in c.iter_mut().enumerate() {
        let (row, column) = (i / N, i % N);
        *c = (0..N).fold(0.0, |sum, k| sum + a[row * N + k] * b[k * N + column]);
    }
    Answer {
        result: c[N * N - 1].to_bits(),
        memory: Some((
            2 * 8 * N * N,
            c.iter().flat_map(|c| c.to_le_bytes()).collect(),
        )),
    }
}
