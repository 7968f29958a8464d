//! Programs: what each thread does between two barriers, and what comes of it.
//!
//! ```text
//! program   = phase barrier phase barrier ... [stuck]
//! phase     = statements of each thread
//! statement = add COUNTER                      an atomic addition
//!           | lock MUTEX { add ...; work; nap } a critical section with plain additions
//!           | lock MUTEX { lock MUTEX {...} }  in the order of their numbers, or in any
//!           | post THREAD | set FLAG           for threads with a greater number
//!           | take                             what was posted for this thread
//!           | await FLAG                       with a condition variable
//!           | yield | work
//! ```
//!
//! Threads wait only for what threads with a smaller number do in the same phase, and those do it
//! whatever happens. So a program finishes, unless mutexes are locked in any order, or it says that
//! a thread waits for what nobody does.

use arbitrary::{Result, Unstructured};

const COUNTERS: usize = 4;
const MUTEXES: usize = 3;
pub const MOST_THREADS: usize = 4;

#[derive(Debug)]
pub struct Program {
    /// By phase, then by thread.
    pub phases: Vec<Vec<Vec<Statement>>>,
    pub threads: usize,
    /// How many threads, the last ones, wait for what nobody does when all else is done.
    pub stuck: usize,
    pub ending: Ending,
}

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Finishes,
    IsStuck(usize),
    /// If mutexes are locked in an unlucky order.
    MayBeStuck,
}

#[derive(Clone, Debug)]
pub enum Statement {
    /// By an atomic instruction, to a counter that no mutex protects.
    AtomicAdd(u32),
    Locked {
        mutex: usize,
        /// To the mutex's counter, by plain instructions.
        add: u32,
        work: u32,
        naps: bool,
        /// Another mutex, locked within.
        within: Option<(usize, u32)>,
    },
    Post(usize),
    Take,
    /// Sets the flag of the phase.
    Set,
    Await,
    Work(u32),
    Yield,
}

impl Program {
    pub fn choose(u: &mut Unstructured<'_>) -> Result<Program> {
        let threads = u.int_in_range(1..=MOST_THREADS)?;
        let any_order = u.ratio(1, 6)?;
        let stuck = match u.ratio(1, 5)? && !any_order {
            true => u.int_in_range(1..=threads)?,
            false => 0,
        };
        let mut phases = Vec::new();
        for _ in 0..u.int_in_range(1..=3)? {
            phases.push(phase(u, threads, any_order)?);
        }
        let ending = match (any_order, stuck) {
            (true, _) => Ending::MayBeStuck,
            (false, 0) => Ending::Finishes,
            (false, stuck) => Ending::IsStuck(stuck),
        };
        Ok(Program {
            phases,
            threads,
            stuck,
            ending,
        })
    }

    /// The addresses of all counters, and what is there in the end.
    pub fn counts(&self) -> Vec<(u64, u32)> {
        let mut counts = [0; COUNTERS];
        for statement in self.phases.iter().flatten().flatten() {
            match *statement {
                Statement::AtomicAdd(n) => counts[MUTEXES] += n,
                Statement::Locked {
                    mutex, add, within, ..
                } => {
                    counts[mutex] += add;
                    if let Some((mutex, add)) = within {
                        counts[mutex] += add;
                    }
                }
                _ => {}
            }
        }
        let addresses = (0..COUNTERS).map(|index| counter(index).into());
        addresses.zip(counts).collect()
    }
}

fn phase(u: &mut Unstructured<'_>, threads: usize, any_order: bool) -> Result<Vec<Vec<Statement>>> {
    let mut all = vec![Vec::new(); threads];
    // Who has done for later threads what these may wait for.
    let mut is_set = false;
    let mut posted = [0_usize; MOST_THREADS];
    for (thread, statements) in all.iter_mut().enumerate() {
        for _ in 0..u.int_in_range(0..=5)? {
            let statement = match u.int_in_range(0..=11)? {
                0 | 1 => Statement::AtomicAdd(u.int_in_range(1..=9)?),
                2..=5 => locked(u, any_order)?,
                6 if thread + 1 < threads => {
                    let to = u.int_in_range(thread + 1..=threads - 1)?;
                    posted[to] += 1;
                    Statement::Post(to)
                }
                7 if posted[thread] > 0 => {
                    posted[thread] -= 1;
                    Statement::Take
                }
                8 => Statement::Set,
                9 if is_set => Statement::Await,
                10 => Statement::Yield,
                _ => Statement::Work(u.int_in_range(1..=60)?),
            };
            statements.push(statement);
        }
        // Of this thread, only others may rely on it: it may wait before it gets there.
        is_set |= statements.iter().any(|it| matches!(it, Statement::Set));
    }
    Ok(all)
}

fn locked(u: &mut Unstructured<'_>, any_order: bool) -> Result<Statement> {
    let mutex = u.int_in_range(0..=MUTEXES - 1)?;
    let within = match u.ratio(1, 3)? {
        true => Some(u.int_in_range(0..=MUTEXES - 1)?),
        false => None,
    };
    let within = within.filter(|&within| within > mutex || (any_order && within != mutex));
    Ok(Statement::Locked {
        mutex,
        add: u.int_in_range(1..=9)?,
        work: u.int_in_range(0..=20)?,
        naps: u.ratio(1, 8)?,
        within: match within {
            Some(within) => Some((within, u.int_in_range(1..=9)?)),
            None => None,
        },
    })
}

/// Where the words are that programs use.
pub fn counter(index: usize) -> u32 {
    64 + 4 * index as u32
}

pub fn mutex(index: usize) -> u32 {
    128 + 4 * index as u32
}

/// What is posted for a thread.
pub fn posts(thread: usize) -> u32 {
    192 + 4 * thread as u32
}

/// How many threads have come to a barrier.
pub fn barrier(phase: usize) -> u32 {
    256 + 4 * phase as u32
}

/// The flag of a phase. The mutex and the count of the condition variable follow.
pub fn flag(phase: usize) -> u32 {
    320 + 16 * phase as u32
}

/// How many threads have ended.
pub const DONE: u32 = 32;

/// Never written to.
pub const NEVER: u32 = 40;
