//! Runs the guests with one seed after another, until something goes wrong.

use crate::end;
use crate::outputs::Outputs;
use crate::prepare::Prepared;
use crate::report::{Report, Searched};
use crate::setup::Setup;
use std::ops::RangeInclusive;
use wasmtime::Result;

/// Runs the guests with each of `seeds`, in a new Store each time, and reports the last
/// run. Returns the status of the command: whether something went wrong.
///
/// # Errors
///
/// Bad usage, or a guest that cannot be run.
pub fn run(setup: &Setup<'_>, seeds: RangeInclusive<u64>) -> Result<u8> {
    let (first_seed, last) = (*seeds.start(), *seeds.end());
    let mut seed = first_seed;
    let mut prepared = Prepared::of(setup, Some(seed))?;
    // Before any guest has run for nothing.
    let outputs = Outputs::create(&setup.args.outputs, &setup.inputs())?;
    loop {
        let mut ran = prepared.start()?.run();
        let went_well = ran.report.as_ref().is_ok_and(Report::all_returned);
        if went_well && seed < last && !setup.interrupt.happened() {
            seed += 1;
            prepared = Prepared::of(setup, Some(seed))?;
            continue;
        }

        if !went_well {
            ran.console.release();
        }
        if let Ok(report) = &mut ran.report {
            report.searched = Some(Searched {
                first_seed,
                runs: seed - first_seed + 1,
                found: (!went_well && !setup.interrupt.happened()).then_some(seed),
            });
        }
        end::end(&setup.args.outputs, ran, outputs, &setup.interrupt)?;
        return Ok(u8::from(!(went_well && seed == last)));
    }
}
