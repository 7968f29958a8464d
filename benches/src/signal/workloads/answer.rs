//! The guests, and what they have to come to: computed by Rust, in the same order,
//! so that it is the same to the last bit.

use wasmtime::{Result, Val, bail, ensure};

/// A guest, and what it has to come to.
pub struct Workload {
    pub name: &'static str,
    pub wat: &'static str,
    pub answer: fn() -> Answer,
}

/// The right result, as Rust computes it.
pub struct Answer {
    /// The bits of what `run` returns.
    pub result: u64,
    /// What is in memory afterwards, and where.
    pub memory: Option<(usize, Vec<u8>)>,
}

pub const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "fib(32)",
        wat: include_str!("../../../../fixtures/paper/fib.wat"),
        answer: fib,
    },
    Workload {
        name: "dot product, 4096 * 4096 f64",
        wat: include_str!("../../../../fixtures/paper/dot.wat"),
        answer: dot,
    },
    Workload {
        name: "matrix product, 512 * 512 f64",
        wat: include_str!("../../../../fixtures/paper/matmul.wat"),
        answer: matmul,
    },
];

impl Answer {
    pub fn check(&self, result: &Val) -> Result<()> {
        let bits = match result {
            Val::I32(value) => u64::from(value.cast_unsigned()),
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
